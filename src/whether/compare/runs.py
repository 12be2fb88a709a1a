"""Intervals of arms whose checkpoint was trained several times: uncertainty of training runs and of examples at once.

A score stands in a row for its training run and a column for its example, and every run answers the same examples: the
two are crossed. Both are a sample, so the mean over all of them varies with the runs, with the examples, and with what
is left (Bouthillier et al. 2021, Accounting for variance in machine learning benchmarks). The variance of the mean is
that of a two-way analysis of variance with random effects,

    (mean square of runs + mean square of examples - mean square of the rest) / (runs × examples),

a share of runs below zero counted as zero, with Student's t of Satterthwaite's degrees of freedom (Satterthwaite 1946;
Searle, Casella and McCulloch 1992, section 5.3). With groups of examples a column is a group. A statistic that is no
mean, macro-F1, has its jackknife pseudo-values in the place of scores (Efron and Tibshirani 1993, section 11.5).

benchmarks/calibration.py measures how often these intervals hold the truth. Two runs are too few for it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from whether.compare.groups import Spread, spread_difference, spread_mean_interval, spread_of, spread_result
from whether.compare.intervals import (
    Codes,
    Floats,
    Inference,
    Interval,
    PairedDifference,
    Statistic,
    mean,
    mean_difference,
    rate_interval,
)


class _Crossed(NamedTuple):
    """A statistic's mean over runs, and where its uncertainty comes from."""

    value: float
    spread: Spread
    unit_error: float
    """Standard error from examples (or their groups) alone: further ones make it smaller."""
    run_error: float
    """Standard error from runs alone."""


def runs_mean_interval(values: Floats, settings: Inference) -> Interval | None:
    """Return the interval of the mean of values of shape (runs, n); None where nothing tells it."""
    bounded = bool(values.min() >= 0 and values.max() <= 1)
    spread = _crossed((values,), mean, settings).spread
    return spread_mean_interval(values, spread, settings.level, bounded)


def runs_rate_interval(columns: Sequence[NDArray[Any]], statistic: Statistic, settings: Inference) -> Interval:
    """Return the interval of a statistic in [0, 1], such as macro-F1, of columns of shape (runs, n) or (n,)."""
    found = _crossed(columns, statistic, settings)
    if found.spread.error > 0:
        low, high = found.spread.interval
        return Interval(max(0.0, low), min(1.0, high))
    return rate_interval(found.value * found.spread.units, found.spread.units, settings.level)


def runs_score_difference(a: Floats, b: Floats, settings: Inference) -> PairedDifference:
    """Return mean(a) - mean(b) for paired scores in [0, 1] of shape (runs, n), or (n,) for an arm without training."""
    a, b = np.broadcast_arrays(a, b)
    found = _crossed((a, b), mean_difference, settings)
    return _told(spread_difference(a, b, found.spread, _p_value(found), settings), found)


def runs_difference(columns: Sequence[NDArray[Any]], difference: Statistic, settings: Inference) -> PairedDifference:
    """Return a difference of two arms' statistics in [0, 1], given columns of shape (runs, n) or (n,)."""
    found = _crossed(columns, difference, settings)
    n = max(column.shape[-1] for column in columns)
    return _told(spread_result(found.value, found.spread, _p_value(found), n, settings), found)


def _told(result: PairedDifference, found: _Crossed) -> PairedDifference:
    """Return a difference that says which part of its uncertainty further examples would take away."""
    if found.unit_error == 0:
        return result._replace(run_error=found.run_error)
    return result._replace(deviation=found.unit_error * math.sqrt(result.n), run_error=found.run_error)


def _p_value(found: _Crossed) -> float:
    """Return the two-sided p-value of no difference, by Student's t."""
    error = found.spread.error
    if error == 0:
        return 1.0 if found.value == 0 else 2 * 0.5**found.spread.units
    return float(2 * stats.t.sf(abs(found.value) / error, found.spread.freedom))


def _crossed(columns: Sequence[NDArray[Any]], statistic: Statistic, settings: Inference) -> _Crossed:
    """Return the analysis of variance of a statistic whose columns have shape (runs, n), or (n,) for every run."""
    shape = np.broadcast_shapes(*(column.shape for column in columns))
    columns = [np.broadcast_to(column, shape) for column in columns]
    by_run = np.asarray(statistic(*columns, axis=-1), dtype=np.float64)
    cells = _pseudo_values(columns, by_run, statistic, settings.clusters)
    runs, units = cells.shape
    of_runs, of_units, centre = cells.mean(1), cells.mean(0), cells.mean()
    run_square = units * float(((of_runs - centre) ** 2).sum()) / (runs - 1)
    unit_square = runs * float(((of_units - centre) ** 2).sum()) / max(units - 1, 1)
    rest = cells - of_runs[:, None] - of_units + centre
    rest_square = float((rest**2).sum()) / ((runs - 1) * max(units - 1, 1))
    excess = max(0.0, run_square - rest_square)
    total = unit_square + excess
    freedom = float(units - 1)
    if excess > 0:
        of_rest = rest_square**2 / ((runs - 1) * max(units - 1, 1))
        freedom = total**2 / (run_square**2 / (runs - 1) + unit_square**2 / max(units - 1, 1) + of_rest)
    error, value = math.sqrt(total / cells.size), float(by_run.mean())
    spread = spread_of(value, error, max(freedom, 1.0), units, settings.level)
    return _Crossed(value, spread, math.sqrt(unit_square / cells.size), math.sqrt(excess / cells.size))


def _pseudo_values(
    columns: Sequence[NDArray[Any]], by_run: Floats, statistic: Statistic, clusters: Codes | None
) -> Floats:
    """Return what each example, or group of examples, contributes to each run's statistic, shape (runs, units)."""
    n = columns[0].shape[-1]
    if clusters is None and statistic in (mean, mean_difference):
        values: Floats = np.asarray(columns[0] if statistic is mean else columns[0] - columns[1], dtype=np.float64)
        return values
    of = np.arange(n) if clusters is None else clusters
    units = int(of.max()) + 1
    if units < 2:
        return np.asarray(by_run[:, None])
    left_out = np.stack(
        [statistic(*(column[..., of != unit] for column in columns), axis=-1) for unit in range(units)], axis=-1
    )
    return np.asarray(units * by_run[:, None] - (units - 1) * left_out, dtype=np.float64)
