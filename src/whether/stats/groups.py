"""Intervals and tests of examples that come in groups, which are no independent observations: the group is the unit.

`whether.stats.inference` says what is used and from which sources.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from whether.stats.intervals import (
    BATCH,
    Codes,
    Floats,
    InferenceSettings,
    Interval,
    PairedDifference,
    is_binary,
    mean_difference,
    normal_quantile,
    rate_interval,
    tango_interval,
    zero_variance_interval,
)


class ErrorEstimate(NamedTuple):
    """How far a statistic may be off."""

    interval: Interval
    error: float
    """Standard error."""
    quantile: float
    """Standard errors from the value to a bound: Student's t, as the error is known no better than it is."""
    units: int
    """Independent observations: groups, or examples."""


def error_estimate(value: float, error: float, quantile: float, units: int) -> ErrorEstimate:
    """Return a spread with its interval about a value."""
    half = quantile * error
    return ErrorEstimate(Interval(value - half, value + half), error, quantile, units)


def t_quantile(level: float, freedom: float) -> float:
    """Return Student's t of a two-sided interval."""
    return float(stats.t.ppf((1 + level) / 2, freedom))


def jackknife(value: float, left_out: Floats, level: float) -> ErrorEstimate:
    """Return the jackknife's interval and standard error over groups (Cameron and Miller 2015, section VI.B).

    `left_out` has the statistic without each group, shape (groups,).
    """
    groups = len(left_out)
    if groups < 2:
        return ErrorEstimate(Interval(-math.inf, math.inf), math.inf, math.inf, groups)
    error = math.sqrt((groups - 1) / groups * float(((left_out - left_out.mean()) ** 2).sum()))
    return error_estimate(value, error, t_quantile(level, groups - 1), groups)


def left_out_means(values: Floats, clusters: Codes) -> Floats:
    """Return the mean over the last axis without each group, shape (..., groups); not a number for the only group."""
    groups = int(clusters.max()) + 1
    if groups < 2:
        return np.full((*values.shape[:-1], groups), np.nan)
    order, sizes = np.argsort(clusters, kind="stable"), np.bincount(clusters)
    sums = np.add.reduceat(values[..., order], np.cumsum(sizes) - sizes, axis=-1)
    return np.asarray((values.sum(-1)[..., None] - sums) / (values.shape[-1] - sizes), dtype=np.float64)


def effective_sample_size(n: int, variance: float, spread: ErrorEstimate, level: float) -> float:
    """Return how many independent examples are worth `n`, given the variance of one example.

    Variance / error², times the square of z over Student's t, since the error is known no better than that.
    """
    count = variance / spread.error**2 if spread.error > 0 else float(spread.units)
    return max(1.0, min(n, count) * (normal_quantile(level) / spread.quantile) ** 2)


def clustered(names: Sequence[str | None], settings: InferenceSettings) -> InferenceSettings:
    """Return settings under which the groups that examples belong to are the unit; as they are without groups.

    An example that belongs to nothing (None) is a unit by itself.
    """
    if len({name for name in names if name is not None}) + names.count(None) == len(names):
        return settings
    units = [("example", number) if name is None else ("group", name) for number, name in enumerate(names)]
    place = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    return settings._replace(clusters=np.array([place[unit] for unit in units], dtype=np.int64))


def clustered_mean_interval(values: Floats, clusters: Codes, level: float, bounded: bool) -> Interval | None:
    """Return the interval of a mean; None where nothing tells it. `bounded`: all values are in [0, 1]."""
    spread = jackknife(float(values.mean()), left_out_means(values, clusters), level)
    return mean_interval_from_error(values, spread, level, bounded)


def mean_interval_from_error(values: Floats, spread: ErrorEstimate, level: float, bounded: bool) -> Interval | None:
    """Return the interval of the mean of values of any shape, given how far it may be off."""
    if is_binary(values) or (bounded and spread.error == 0):
        value = float(values.mean())
        n = effective_sample_size(values.size, value * (1 - value), spread, level)
        return rate_interval(value * n, n, level)
    return spread.interval if 0 < spread.error < math.inf else None


def clustered_difference(a: Floats, b: Floats, clusters: Codes, settings: InferenceSettings) -> PairedDifference:
    """Return mean(a) - mean(b) for paired scores of shape (n,) in [0, 1]."""
    differences = a - b
    spread = jackknife(float(differences.mean()), left_out_means(differences, clusters), settings.level)

    def exchanged(swapped: NDArray[np.bool_]) -> Any:
        return mean_difference(np.where(swapped, b, a), np.where(swapped, a, b))

    p_value = (
        1.0 if np.array_equal(a, b) else group_permutation(float(differences.mean()), exchanged, clusters, settings)
    )
    interval = (
        "Tango score interval of the effective number" if is_binary(a) and is_binary(b) else "jackknife over groups"
    )
    found = difference_from_error(a, b, spread, p_value, settings)
    return found._replace(method=f"{interval}, permutation of groups")


def difference_from_error(
    a: Floats, b: Floats, spread: ErrorEstimate, p_value: float, settings: InferenceSettings
) -> PairedDifference:
    """Return mean(a) - mean(b) for paired scores in [0, 1], examples on the last axis, given how far it may be off."""
    differences = a - b
    result = result_from_error(float(differences.mean()), spread, p_value, differences.shape[-1], settings)
    if not (is_binary(a) and is_binary(b)):
        return result
    n = effective_sample_size(differences.size, float(differences.var()), spread, settings.level)
    gained, lost = float((differences > 0).mean()), float((differences < 0).mean())
    return result._replace(interval=tango_interval(gained * n, lost * n, n, settings.level))


def result_from_error(
    value: float, spread: ErrorEstimate, p_value: float, n: int, settings: InferenceSettings
) -> PairedDifference:
    """Return a difference on `n` examples, given how far it may be off."""
    if not 0 < spread.error < math.inf:
        interval, error = zero_variance_interval(value, spread.units, settings.level), 1 / spread.units
    else:
        low, high = spread.interval
        interval, error = Interval(max(-1.0, low), min(1.0, high)), spread.error
    return PairedDifference(value, interval, p_value, n, error * math.sqrt(n))


def group_permutation(
    difference: float, exchanged: Callable[[NDArray[np.bool_]], Any], clusters: Codes, settings: InferenceSettings
) -> float:
    """Return the two-sided p-value of exchanging the arms group by group.

    `exchanged` returns the differences, shape (resamples,), where the arms of some examples are exchanged, shape
    (resamples, examples).
    """
    rng, observed, beyond, done = np.random.default_rng(settings.seed), abs(difference), 0, 0
    while done < settings.resamples:
        size = min(settings.resamples - done, max(1, BATCH // (2 * len(clusters))))
        swapped = (rng.random((size, int(clusters.max()) + 1)) < 0.5)[:, clusters]
        found = np.abs(exchanged(swapped))
        beyond, done = beyond + int((found >= observed - 1e-12).sum()), done + size
    return (beyond + 1) / (done + 1)
