"""Differences of one family together: intervals and tests that hold for all of them, and that never disagree.

With no true difference, the largest of a family's standardised differences exceeds a bound more often than one of them
does. Under the normal approximation their joint distribution follows from their correlations, which the differences'
own variances give, and so does the level at which each is judged so that the chance of any false claim is the family's
(the single-step maximum-T method: Hothorn, Bretz and Westfall 2008; for all pairs of three equal arms it is Tukey's).
Every interval is then computed by its own method at that level. Holm's method rejects a little more often, and has no
intervals to go with it that say more than "above zero" (Strassburger and Bretz 2008).

Where interval and test of a difference come from different methods they can disagree near the bound. The more careful
of the two is right then: a test that does not reject makes the interval reach zero, and an interval that reaches zero
makes the p-value that of the interval. So an interval excludes zero exactly where the adjusted p-value is below the
family's error rate.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize
from scipy.stats import chi2, norm

from whether.stats.inference import holm
from whether.stats.intervals import Floats, Interval, PairedDifference

Pair = tuple[str, str]
AtLevel = Callable[[Pair, float], Interval]
"""A pair of arms and a level → the interval of its difference at that level, by itself."""

TRUE_DIFFERENCE = 0.05
"""The difference whose chance of being shown is a comparison's `power`: 5 points."""

_IMPOSSIBLE, _ROUNDING = 0.05, 1e-9
"""Shares of the largest eigenvalue of a covariance: so far below zero none can be, and so little is rounding."""

_ANGLES, _DIRECTIONS = 2**10, 2**15
"""Over which the maximum's distribution is a mean: in the plane, where all pairs of three arms lie, and in more
dimensions, where they are random and a p-value is off by some 0.2% of itself."""


class FamilyDifference(NamedTuple):
    """A paired difference as one of a family."""

    estimate: PairedDifference
    """By itself: its interval and p-value know nothing of the others."""
    interval: Interval
    p_adjusted: float
    power: float | None = None
    """Chance of showing a true difference of `TRUE_DIFFERENCE` with so many examples; None where nobody asks."""


class MaxStatistic:
    """The largest of a family's standardised differences, where none is true."""

    def __init__(self, covariance: Floats):
        """`covariance` of the differences, shape (differences, differences), is estimated.

        Where no variables could have it, since errors of single pairs were replaced or runs differ by chance, the
        correction is Bonferroni's, which holds for any.
        """
        values, vectors = np.linalg.eigh(covariance)
        self._differences = len(covariance)
        self._reach: Floats | None = None
        if values.min() < -_IMPOSSIBLE * values.max():
            return
        kept = values > _ROUNDING * values.max()
        root = np.sqrt(values[kept])[:, None] * vectors.T[kept]
        self._dimensions = len(root)
        self._reach = np.abs(_directions(len(root)) @ (root / np.sqrt((root**2).sum(0)))).max(1)

    def adjusted(self, p_value: float) -> float:
        """Return the chance that any difference's two-sided p-value is at most this.

        Along a direction the normal vector's length is chi-distributed, so a mean over directions is exact in the
        tails, too.
        """
        if self._reach is None:
            return min(1.0, self._differences * p_value)
        bound = norm.isf(p_value / 2)
        return float(chi2.sf((bound / self._reach) ** 2, self._dimensions).mean())

    def per_comparison(self, alpha: float) -> float:
        """Return the p-value at which each difference is judged, so that any false claim has the chance `alpha`."""
        if self._reach is None:
            return alpha / self._differences
        if self.adjusted(alpha) <= alpha:  # all differences are one
            return alpha
        return float(optimize.brentq(lambda p: self.adjusted(p) - alpha, alpha / 1_000, alpha, xtol=1e-9))


def _directions(dimensions: int) -> Floats:
    """Return vectors of length 1 that are spread over all directions, shape (directions, dimensions)."""
    if dimensions == 2:
        angles = np.arange(_ANGLES) * np.pi / _ANGLES  # half a turn: a direction and its opposite are one
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    drawn = np.random.default_rng(0).standard_normal((_DIRECTIONS, dimensions))
    found: Floats = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return found


def pair_covariance(pairs: Sequence[Pair], deviation: Floats) -> Floats:
    """Return the covariance of differences of arms, shape (pairs, pairs), given their standard deviations.

    The variances of a - b, a - c and b - c give their covariances: that of a - b and a - c is half of
    var(a - b) + var(a - c) - var(b - c), and so on. So every pair of the arms has to be there.
    """
    variance = {frozenset(pair): float(value**2) for pair, value in zip(pairs, deviation, strict=True)}

    def spread(x: str, y: str) -> float:
        return 0.0 if x == y else variance[frozenset((x, y))]

    return np.array(
        [[(spread(a, d) + spread(b, c) - spread(a, c) - spread(b, d)) / 2 for c, d in pairs] for a, b in pairs]
    )


def covariance_root(pairs: Sequence[Pair], deviation: Floats) -> Floats:
    """Return a root of `pair_covariance`, what is below zero in it left out: standard normals @ it have it."""
    values, vectors = np.linalg.eigh(pair_covariance(pairs, deviation))
    root: Floats = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return root


def per_comparison_alpha(pairs: Sequence[Pair], deviation: Floats, alpha: float) -> float:
    """Return the p-value at which each of all pairs of some arms is judged, given the differences' deviations."""
    return alpha if len(pairs) == 1 else MaxStatistic(pair_covariance(pairs, deviation)).per_comparison(alpha)


def simultaneous_differences(
    differences: Mapping[Pair, PairedDifference], at_level: AtLevel, level: float
) -> dict[Pair, FamilyDifference]:
    """Return every pair of some arms with intervals that hold together at `level`, and the p-values of these claims.

    Args:
        differences: Of every pair, each by itself at `level`.
        at_level: Their intervals at any other level.
        level: Of the family, such as 0.95.
    """
    if not differences:
        return {}
    pairs, rows = list(differences), list(differences.values())
    error = np.array([np.hypot(row.deviation / np.sqrt(row.n), row.run_error) for row in rows])
    largest = MaxStatistic(pair_covariance(pairs, error)) if len(pairs) > 1 else None
    each = largest.per_comparison(1 - level) if largest else 1 - level
    found = {}
    for pair, row, spread in zip(pairs, rows, error, strict=True):
        interval = at_level(pair, 1 - each) if largest else row.interval
        p_value = row.p_value
        if _excludes_zero(interval) and p_value >= each:
            interval = Interval(min(interval.low, 0.0), max(interval.high, 0.0))
        elif p_value < each and not _excludes_zero(interval):
            p_value = _p_value_of_interval(pair, at_level, each)
        adjusted = largest.adjusted(p_value) if largest else p_value
        found[pair] = FamilyDifference(row, interval, min(1.0, adjusted), _power(spread, each))
    return found


def holm_differences(differences: Mapping[Any, PairedDifference]) -> dict[Any, FamilyDifference]:
    """Return differences, by any key, with p-values corrected by Holm's method, and intervals of each by itself."""
    adjusted = holm(np.array([row.p_value for row in differences.values()])).tolist()
    return {
        pair: FamilyDifference(row, row.interval, p_adjusted)
        for (pair, row), p_adjusted in zip(differences.items(), adjusted, strict=True)
    }


def _excludes_zero(interval: Interval) -> bool:
    return interval.low > 0 or interval.high < 0


def _p_value_of_interval(pair: Pair, at_level: AtLevel, above: float) -> float:
    """Return the least p-value at whose level the interval excludes zero, given one at which it does not."""
    low, high = above, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if _excludes_zero(at_level(pair, 1 - middle)) else (middle, high)
    return high


def _power(error: float, each: float) -> float:
    bound, distance = norm.isf(each / 2), TRUE_DIFFERENCE / error
    return float(norm.sf(bound - distance) + norm.cdf(-bound - distance))
