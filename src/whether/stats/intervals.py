"""What intervals are made of: their types, and the score intervals of rates and of differences of rates."""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Statistic = Callable[..., Any]
"""Columns with examples on the last axis → a value for each of the leading axes."""

BATCH = 4_000_000
"""Resampled values held in memory at once."""


class InferenceSettings(NamedTuple):
    """How uncertainty is computed: the level of intervals, resamples, and the seed of their random numbers."""

    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0
    clusters: Codes | None = None
    """Of each example, the number of its group, from 0 and without gaps, shape (n,); None: each is its own."""


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float


class PairedDifference(NamedTuple):
    """One arm minus another on the same examples."""

    difference: float
    interval: Interval
    p_value: float
    """Two-sided, of no difference; not corrected."""
    n: int
    deviation: float
    """Standard deviation of the difference for one example: its standard error is this / √n."""
    run_error: float = 0.0
    """What is left of the standard error with any number of examples: that of the training runs, in terms of a normal
    quantile."""
    method: str = ""
    """How interval and p-value were computed, in the field's words."""


def rate_interval(successes: float, n: float, level: float) -> Interval:
    """Return Wilson's score interval of a rate; both numbers may be effective ones, which need not be whole.

    Written out since scipy's takes whole numbers alone, and statsmodels' brings pandas with it. Source: E. B. Wilson,
    Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    z, rate = normal_quantile(level), successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def tango_interval(gained: float, lost: float, n: float, level: float) -> Interval:
    """Return Tango's score interval of a difference of paired proportions, (gained - lost) / n.

    `gained` examples are right in the first arm only, `lost` in the second only. The interval holds every difference
    that the score test does not reject at 1 - level, with the discordant rate at its restricted
    maximum likelihood. The counts may be effective ones, which need not be whole.

    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17 (1998).
    """
    z, estimate, edge = normal_quantile(level), (gained - lost) / n, 1 - 1e-12

    def score(delta: float) -> float:
        linear = (2 * n - gained + lost) * delta - gained - lost
        root = math.sqrt(max(0.0, linear**2 + 8 * n * lost * delta * (1 - delta)))
        variance = n * ((root - linear) / (2 * n) + delta * (1 - delta))
        return (gained - lost - n * delta) / math.sqrt(variance) if variance > 0 else 0.0

    reaches_low, reaches_high = estimate > -1 and score(-edge) > z, estimate < 1 and score(edge) < -z
    low = optimize.brentq(lambda delta: score(delta) - z, -edge, min(estimate, edge)) if reaches_low else -1.0
    high = optimize.brentq(lambda delta: score(delta) + z, max(estimate, -edge), edge) if reaches_high else 1.0
    return Interval(float(low), float(high))


def zero_variance_interval(value: float, n: float, level: float) -> Interval:
    """Return an interval for a bounded score whose sample shows no spread.

    A score in [0, 1] has at most the variance of a 0/1 score, so Tango's interval without a discordant pair,
    ± z² / (n + z²), is wide enough.
    """
    z_squared = normal_quantile(level) ** 2
    half = z_squared / (n + z_squared)
    return Interval(max(-1.0, value - half), min(1.0, value + half))


def normal_quantile(level: float) -> float:
    """Return z of a two-sided interval: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def is_binary(values: Floats) -> bool:
    """Return whether all scores are 0 or 1."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def mean(values: Floats, axis: int = -1) -> Any:
    """Return the mean over an axis, as a statistic."""
    return np.mean(values, axis=axis)


def mean_difference(a: Floats, b: Floats, axis: int = -1) -> Any:
    """Return mean(a) - mean(b) over an axis, as a statistic."""
    return np.mean(a - b, axis=axis)
