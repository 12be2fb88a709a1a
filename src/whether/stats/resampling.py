"""The BCa bootstrap over examples and the paired permutation test, for any statistic.

`whether.stats.inference` says what is used where, and from which sources.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from whether.stats.intervals import BATCH, InferenceSettings, Interval, Statistic


def bca_interval(
    columns: Sequence[NDArray[Any]], statistic: Statistic, settings: InferenceSettings, paired: bool = True,
    effective_n: float | None = None,
) -> tuple[Interval | None, float]:  # fmt: skip
    """Return the BCa interval and the bootstrap's standard error; (None, 0) where there is no spread to resample.

    `effective_n` is how many examples the statistic is worth, where that is fewer than there are.
    """
    size = sum(len(column) for column in columns)
    if min(len(column) for column in columns) < 2:
        return None, 0.0
    with warnings.catch_warnings():
        # No spread is an answer here, not a surprise: the caller has an interval for it.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.bootstrap(
            tuple(columns),
            statistic,
            paired=paired and len(columns) > 1,
            vectorized=True,
            n_resamples=settings.resamples,
            batch=max(1, BATCH // size),
            confidence_level=_expanded_level(settings.level, effective_n or min(len(column) for column in columns)),
            method="BCa",
            rng=np.random.default_rng(settings.seed),
        )
    low, high = map(float, result.confidence_interval)
    if not (np.isfinite(low) and np.isfinite(high)) or result.standard_error == 0:
        return None, 0.0
    return Interval(low, high), float(result.standard_error)


def _expanded_level(level: float, n: float) -> float:
    """Return the level that makes a bootstrap interval of few examples as wide as its level asks for.

    A resample's variance is (n - 1) / n of the sample's, and a quantile knows nothing of the doubt about it, which
    Student's t does (Hesterberg 2015, The American Statistician 69: expanded percentile interval).
    """
    n = max(n, 2.0)
    return float(2 * stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)) - 1)


def permutation_p_value(a: NDArray[Any], b: NDArray[Any], statistic: Statistic, settings: InferenceSettings) -> float:
    """Return the two-sided p-value of exchanging the arms example by example."""
    if len(a) < 2 or np.array_equal(a, b):
        return 1.0
    result = stats.permutation_test(
        (a, b),
        statistic,
        permutation_type="samples",
        vectorized=True,
        n_resamples=settings.resamples,
        batch=max(1, BATCH // (2 * len(a))),
        rng=np.random.default_rng(settings.seed),
    )
    return float(result.pvalue)
