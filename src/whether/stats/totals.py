"""Intervals and tests of any metric that is a function of sums over examples: a mean, or a statistic of a whole corpus.

What each example adds up to are its totals, k numbers; a metric's value is a function of their sums. So a resample, a
group that is left out and an exchange of two arms need one product of matrices: how often each example counts, times
the totals. For a mean (k = 1) the methods of `whether.stats.inference` apply, which know more: Wilson's and Tango's
intervals. For others (macro-F1, micro-averages, corpus BLEU) those methods are used that need nothing but resamples.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whether.stats.groups import effective_sample_size, group_permutation, jackknife, result_from_error
from whether.stats.inference import mean_interval, score_difference, unbounded_mean_interval
from whether.stats.intervals import (
    Codes,
    Floats,
    InferenceSettings,
    Interval,
    PairedDifference,
    rate_interval,
    zero_variance_interval,
)
from whether.stats.resampling import bca_interval, permutation_p_value
from whether.stats.runs import runs_mean_interval, runs_statistic_difference, runs_statistic_interval

Value = Callable[[Floats, Any], Any]
"""Sums of totals, shape (..., k), and the number of examples that they are over, which broadcasts with the leading axes
→ the values, shape (...)."""


_MANY = 60
"""Totals an example, and zeros for each other number, from which on products are sparse."""


class Estimator(Protocol):
    """A metric, as far as its intervals depend on it. `whether.metrics.metric.Metric` is one."""

    @property
    def value(self) -> Value:
        """What the sums mean."""
        ...

    @property
    def effective_n(self) -> Callable[[Floats, int], float] | None:
        """Sums of totals, shape (k,), and number of examples → how many examples the value is worth; None: all."""
        ...

    @property
    def is_mean(self) -> bool:
        """Whether the value is the mean of one number an example."""
        ...

    @property
    def is_bounded(self) -> bool:
        """Whether it lies in [0, 1]."""
        ...


def estimate_interval(totals: Floats, estimator: Estimator, settings: InferenceSettings) -> Interval | None:
    """Return the interval of a metric; None where nothing tells it.

    Totals have shape (n, k), or (runs, n, k) where the checkpoint was trained several times.
    """
    if not estimator.is_mean:
        return _statistic_interval(totals, estimator, settings)
    values = totals[..., 0]
    if estimator.is_bounded:
        return mean_interval(values, settings)
    return runs_mean_interval(values, settings) if values.ndim > 1 else unbounded_mean_interval(values, settings)


def estimate_difference(a: Floats, b: Floats, estimator: Estimator, settings: InferenceSettings) -> PairedDifference:
    """Return a metric in [0, 1] of totals `a` minus that of `b`, on the same examples.

    Both have shape (n, k), or (runs, n, k) where the checkpoint was trained several times.
    """
    if estimator.is_mean:
        return score_difference(a[..., 0], b[..., 0], settings)
    n, by_run = a.shape[-2], np.asarray(_value(a, estimator) - _value(b, estimator), dtype=np.float64)
    if by_run.ndim or settings.clusters is not None:
        left_out = _left_out(a, estimator, settings.clusters) - _left_out(b, estimator, settings.clusters)
        if by_run.ndim:
            return runs_statistic_difference(by_run, left_out, n, settings)
        spread = jackknife(float(by_run), left_out, settings.level)
        p_value = _permutation(a, b, estimator, settings)
        result = result_from_error(float(by_run), spread, p_value, n, settings)
        return result._replace(method="jackknife over groups, permutation of groups")
    value, worth = float(by_run), _effective_n(a, estimator)
    of_a, of_b = _weighted_sums(a), _weighted_sums(b)

    def resampled(rows: Codes, axis: int = -1) -> Any:  # noqa: ARG001 - scipy names it; it is the last one
        counts = _counts(rows, n)
        size = rows.shape[-1]
        return estimator.value(of_a(counts), size) - estimator.value(of_b(counts), size)

    interval, error = bca_interval((np.arange(n),), resampled, settings, effective_n=worth)
    deviation = error * np.sqrt(n) if error else 1 / np.sqrt(worth)
    return PairedDifference(
        value,
        interval or zero_variance_interval(value, worth, settings.level),
        _permutation(a, b, estimator, settings),
        n,
        float(deviation),
        method="paired BCa bootstrap, permutation test",
    )


def _statistic_interval(totals: Floats, estimator: Estimator, settings: InferenceSettings) -> Interval | None:
    if totals.ndim > 2:
        left_out = _left_out(totals, estimator, settings.clusters)
        return runs_statistic_interval(_value(totals, estimator), left_out, settings, estimator.is_bounded)
    value, examples = float(_value(totals, estimator)), len(totals)
    if settings.clusters is not None:
        spread = jackknife(value, _left_out(totals, estimator, settings.clusters), settings.level)
        if not estimator.is_bounded:
            return spread.interval if 0 < spread.error < math.inf else None
        n = effective_sample_size(examples, value * (1 - value), spread, settings.level)
        return rate_interval(value * n, n, settings.level)

    def resampled(rows: Codes, axis: int = -1) -> Any:  # noqa: ARG001 - scipy names it; it is the last one
        return estimator.value(sums(_counts(rows, examples)), rows.shape[-1])

    n, sums = _effective_n(totals, estimator), _weighted_sums(totals)
    interval = bca_interval((np.arange(examples),), resampled, settings, effective_n=n)[0]
    return interval or (rate_interval(value * n, n, settings.level) if estimator.is_bounded else None)


def _value(totals: Floats, estimator: Estimator) -> Any:
    """Return the metric of totals of shape (..., n, k), shape (...)."""
    return estimator.value(totals.sum(-2), totals.shape[-2])


def _effective_n(totals: Floats, estimator: Estimator) -> float:
    return len(totals) if estimator.effective_n is None else estimator.effective_n(totals.sum(0), len(totals))


def _weighted_sums(totals: Floats) -> Callable[[Floats], Floats]:
    """Return the function from how often each example counts, shape (..., n), to the sums of totals, shape (..., k).

    With many labels nearly all totals are 0, and a sparse matrix takes as long as with few.
    """
    if totals.shape[1] < _MANY or np.count_nonzero(totals) > totals.size / _MANY:
        return lambda weights: weights @ totals
    from scipy.sparse import csr_array

    sparse = csr_array(totals)
    return lambda weights: np.ascontiguousarray(weights @ sparse)


def _counts(rows: Codes, n: int) -> Floats:
    """Return how often each of `n` examples is among `rows` of shape (..., resampled), shape (..., n)."""
    resamples = rows.size // rows.shape[-1]
    start = np.repeat(np.arange(resamples) * n, rows.shape[-1])
    counted = np.bincount(start + rows.reshape(-1), minlength=resamples * n)
    return counted.reshape(*rows.shape[:-1], n).astype(np.float64)


def _left_out(totals: Floats, estimator: Estimator, clusters: Codes | None) -> Floats:
    """Return the metric without each example, or group of examples, shape (..., units); not a number for the only one.

    Totals have shape (..., n, k).
    """
    n, parts, sizes = totals.shape[-2], totals, np.ones(totals.shape[-2])
    if clusters is not None:
        order, counts = np.argsort(clusters, kind="stable"), np.bincount(clusters)
        parts = np.add.reduceat(totals[..., order, :], np.cumsum(counts) - counts, axis=-2)
        sizes = counts.astype(np.float64)
    if len(sizes) < 2:
        return np.full((*totals.shape[:-2], len(sizes)), np.nan)
    return np.asarray(estimator.value(totals.sum(-2)[..., None, :] - parts, n - sizes), dtype=np.float64)


def _permutation(a: Floats, b: Floats, estimator: Estimator, settings: InferenceSettings) -> float:
    """Return the two-sided p-value of exchanging the arms example by example, or group by group."""
    if np.array_equal(a, b):
        return 1.0
    exchanged, n = _exchange(a, b, estimator), len(a)
    if settings.clusters is not None:
        return group_permutation(float(exchanged(np.zeros(n, dtype=bool))), exchanged, settings.clusters, settings)

    def difference(x: Codes, y: Codes, axis: int = -1) -> Any:  # noqa: ARG001 - scipy names them
        return exchanged(x >= n)

    # Places stand for examples: those of the second arm follow those of the first.
    return permutation_p_value(np.arange(n), np.arange(n, 2 * n), difference, settings)


def _exchange(a: Floats, b: Floats, estimator: Estimator) -> Callable[[NDArray[np.bool_]], Any]:
    """Return the function from the examples that are exchanged, shape (..., n), to the difference, shape (...)."""
    first, second, gain, n = a.sum(0), b.sum(0), _weighted_sums(b - a), len(a)

    def difference(swapped: NDArray[np.bool_]) -> Any:
        moved = gain(swapped.astype(np.float64))
        return estimator.value(first + moved, n) - estimator.value(second - moved, n)

    return difference
