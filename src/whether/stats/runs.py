"""Intervals of arms whose checkpoint was trained several times: uncertainty of training runs and of examples at once.

A score stands in a row for its training run and a column for its example, and every run answers the same examples: the
two are crossed. Both are a sample, so the mean over all of them varies with the runs, with the examples, and with what
is left (Bouthillier et al. 2021, Accounting for variance in machine learning benchmarks). The variance of the mean has
the parts of a two-way analysis of variance with random effects (Searle, Casella and McCulloch 1992, section 5.3),

    from examples: mean square of examples / (runs × examples),
    from runs: (mean square of runs - mean square of the rest) / (runs × examples), zero where it is below zero.

Each part has an interval by itself, with Student's t of its own degrees of freedom, and the squares of the half-widths
add up (Howe 1974; Zou and Donner 2008). A single t of Satterthwaite's degrees of freedom holds the truth less often
where three runs differ by much: it takes chance agreement of few runs for knowledge.

With groups of examples a column is a group. A statistic that is not a mean, macro-F1, has its jackknife pseudo-values
in the place of scores (Efron and Tibshirani 1993, section 11.5).

benchmarks/calibration.py measures how often these intervals hold the truth. Two runs are too few for it.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import optimize

from whether.stats.groups import (
    ErrorEstimate,
    difference_from_error,
    error_estimate,
    left_out_means,
    mean_interval_from_error,
    result_from_error,
    t_quantile,
)
from whether.stats.intervals import (
    Floats,
    InferenceSettings,
    Interval,
    PairedDifference,
    normal_quantile,
    rate_interval,
)


class _TwoWayVariance(NamedTuple):
    """A statistic's mean over runs, and where its uncertainty comes from."""

    value: float
    runs: int
    units: int
    """Examples, or groups of them."""
    unit_error: float
    """Standard error from examples alone: further ones make it smaller."""
    run_error: float
    """Standard error from runs alone."""

    def half(self, level: float) -> float:
        """Return half the width of the interval."""
        of_units = t_quantile(level, self.units - 1) * self.unit_error
        return math.hypot(of_units, t_quantile(level, self.runs - 1) * self.run_error)

    def spread(self, level: float) -> ErrorEstimate:
        """Return what the intervals of rates and differences are made of."""
        if self.units < 2:
            return ErrorEstimate(Interval(-math.inf, math.inf), math.inf, math.inf, self.units)
        error = math.hypot(self.unit_error, self.run_error)
        quantile = self.half(level) / error if error else t_quantile(level, self.units - 1)
        return error_estimate(self.value, error, quantile, self.units)

    def p_value(self) -> float:
        """Return the two-sided p-value of no difference: 1 minus the level of the interval that ends at zero."""
        if self.units < 2:
            return 1.0
        if self.unit_error == self.run_error == 0:
            return 1.0 if self.value == 0 else 2 * 0.5**self.units
        if self.half(0.0) >= abs(self.value):
            return 1.0
        least = 1e-12
        if self.half(1 - least) <= abs(self.value):
            return least
        return float(optimize.brentq(lambda p: self.half(1 - p) - abs(self.value), least, 1, xtol=1e-14))


def runs_mean_interval(values: Floats, settings: InferenceSettings) -> Interval | None:
    """Return the interval of the mean of values of shape (runs, n); None where it cannot be known."""
    bounded = bool(values.min() >= 0 and values.max() <= 1)
    spread = _of_means(values, settings).spread(settings.level)
    return mean_interval_from_error(values, spread, settings.level, bounded)


def runs_statistic_interval(
    by_run: Floats, left_out: Floats, settings: InferenceSettings, bounded: bool = True
) -> Interval | None:
    """Return the interval of a statistic that is no mean, given its value in each run and without each unit.

    Shapes (runs,) and (runs, units). `bounded`: it lies in [0, 1]; None is for one that does not and has no spread.
    """
    found = _two_way_variance(by_run, _pseudo_values(by_run, left_out))
    spread = found.spread(settings.level)
    if not bounded:
        return spread.interval if 0 < spread.error < math.inf else None
    if spread.error > 0:
        return Interval(max(0.0, spread.interval.low), min(1.0, spread.interval.high))
    return rate_interval(found.value * found.units, found.units, settings.level)


def runs_score_difference(a: Floats, b: Floats, settings: InferenceSettings) -> PairedDifference:
    """Return mean(a) - mean(b) for paired scores in [0, 1] of shape (runs, n), or (n,) for an arm without training."""
    a, b = np.broadcast_arrays(a, b)
    found = _of_means(a - b, settings)
    return _to_difference(
        difference_from_error(a, b, found.spread(settings.level), found.p_value(), settings), found, settings
    )


def runs_statistic_difference(
    by_run: Floats, left_out: Floats, n: int, settings: InferenceSettings
) -> PairedDifference:
    """Return a difference of two arms' statistics in [0, 1] on `n` examples; arguments as above, of the difference."""
    found = _two_way_variance(by_run, _pseudo_values(by_run, left_out))
    return _to_difference(
        result_from_error(found.value, found.spread(settings.level), found.p_value(), n, settings), found, settings
    )


def _to_difference(result: PairedDifference, found: _TwoWayVariance, settings: InferenceSettings) -> PairedDifference:
    """Return a difference that says which part of its uncertainty further examples would take away."""
    wider = t_quantile(settings.level, found.runs - 1) / normal_quantile(settings.level)
    deviation = found.unit_error * math.sqrt(result.n) if found.unit_error else result.deviation
    method = "analysis of variance over examples and training runs, t interval and test"
    return result._replace(deviation=deviation, run_error=wider * found.run_error, method=method)


def _of_means(values: Floats, settings: InferenceSettings) -> _TwoWayVariance:
    """Return the analysis of variance of the mean of values of shape (runs, n)."""
    by_run, clusters = values.mean(-1), settings.clusters
    if clusters is None:
        return _two_way_variance(by_run, values)
    return _two_way_variance(by_run, _pseudo_values(by_run, left_out_means(values, clusters)))


def _two_way_variance(by_run: Floats, cells: Floats) -> _TwoWayVariance:
    """Return the analysis of variance of a statistic, given what each unit contributes to it, shape (runs, units)."""
    runs, units = cells.shape
    of_runs, of_units, centre = cells.mean(1), cells.mean(0), cells.mean()
    run_square = units * float(((of_runs - centre) ** 2).sum()) / (runs - 1)
    unit_square = runs * float(((of_units - centre) ** 2).sum()) / max(units - 1, 1)
    rest = cells - of_runs[:, None] - of_units + centre
    rest_square = float((rest**2).sum()) / ((runs - 1) * max(units - 1, 1))
    excess = max(0.0, run_square - rest_square)
    return _TwoWayVariance(
        float(by_run.mean()), runs, units, math.sqrt(unit_square / cells.size), math.sqrt(excess / cells.size)
    )


def _pseudo_values(by_run: Floats, left_out: Floats) -> Floats:
    """Return what each example, or group of examples, contributes to each run's statistic, shape (runs, units)."""
    units = left_out.shape[-1]
    return by_run[:, None] if units < 2 else units * by_run[:, None] - (units - 1) * left_out
