"""Intervals and tests for arms that answered the same examples.

What is used where:

- A rate: Wilson's score interval (Wilson 1927), which holds its level for few examples and near 0 and 1, where the
  normal approximation does not (Brown, Cai and DasGupta 2001; Bowyer et al. 2025).
- A difference of two rates on the same examples: Tango's score interval for paired proportions (Tango 1998) and
  McNemar's mid-p test: the exact one claims far less than it may where few examples differ (Fagerland, Lydersen and
  Laake 2013). The bootstrap is not used here: with few discordant pairs its 95% intervals cover 87% to 92%
  (n = 50 to 500; tests/stats/test_inference.py measures it), and with none it has no width at all.
- Graded scores, times, tokens and macro-F1: BCa bootstrap over examples (Efron 1987), both arms of a pair resampled
  together, at a level that makes up for few examples (Hesterberg 2015), and a paired permutation test. Where every
  resample is equal, the bounded-score argument of `zero_variance_interval` takes its place. `whether.stats.totals` has
  it for statistics of a whole corpus, such as macro-F1.
- Examples that come in groups (several of one customer or document) are no independent observations. With
  `Inference.clusters` the group is the unit: standard errors are those of the jackknife that leaves out a group at a
  time, with Student's t of groups - 1 (Cameron and Miller 2015; Miller 2024 for evaluations), rates and differences of
  rates have the intervals above at their effective number of examples (Korn and Graubard 1998), and permutation tests
  exchange the arms for whole groups.
- Arms whose checkpoint was trained several times have scores of shape (runs, n): their intervals hold what another
  training run would change, too (`whether.stats.runs`).
- Several comparisons at once: intervals and tests of the decision hold for all of its pairs together
  (`whether.stats.simultaneous`); other families have Holm's correction (Holm 1979) for claims that two arms differ.

Intervals are two-sided, at level 1 - alpha for each pair by itself.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from whether.stats.groups import clustered_difference, clustered_mean_interval
from whether.stats.intervals import (
    Floats,
    InferenceSettings,
    Interval,
    PairedDifference,
    is_binary,
    mean,
    mean_difference,
    rate_interval,
    tango_interval,
    zero_variance_interval,
)
from whether.stats.resampling import bca_interval, permutation_p_value
from whether.stats.runs import runs_mean_interval, runs_score_difference


def mean_interval(values: Floats, settings: InferenceSettings) -> Interval | None:
    """Return the interval of a mean: Wilson's for 0/1 values, else BCa; None where it cannot be known.

    Nothing does for a single value, or without spread; in [0, 1] Wilson's interval takes the place, which is then wider
    than it needs to be. Values have shape (n,), or (runs, n).
    """
    if values.ndim > 1:
        return runs_mean_interval(values, settings)
    bounded = bool(values.min() >= 0 and values.max() <= 1)
    if settings.clusters is not None:
        return clustered_mean_interval(values, settings.clusters, settings.level, bounded)
    if is_binary(values) or (bounded and np.ptp(values) == 0):
        return rate_interval(float(values.sum()), len(values), settings.level)
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    return bca_interval((values,), mean, settings)[0]


def unbounded_mean_interval(values: Floats, settings: InferenceSettings) -> Interval | None:
    """Return the BCa interval of the mean of amounts of any size, such as costs; None without spread."""
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    if settings.clusters is not None:
        return clustered_mean_interval(values, settings.clusters, settings.level, bounded=False)
    return bca_interval((values,), mean, settings)[0]


def score_difference(a: Floats, b: Floats, settings: InferenceSettings) -> PairedDifference:
    """Return mean(a) - mean(b) for paired scores in [0, 1] of shape (n,), or (runs, n) where training was repeated."""
    if max(a.ndim, b.ndim) > 1:
        return runs_score_difference(a, b, settings)
    n, differences = len(a), a - b
    if settings.clusters is not None:
        return clustered_difference(a, b, settings.clusters, settings)
    if is_binary(a) and is_binary(b):
        gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
        interval = tango_interval(gained, lost, n, settings.level)
        p_value = mcnemar_p_value(gained, lost)
        method = "Tango score interval, McNemar mid-p test"
    else:
        interval = bca_interval((differences,), mean, settings)[0] or zero_variance_interval(
            float(differences.mean()), n, settings.level
        )
        p_value = permutation_p_value(a, b, mean_difference, settings)
        method = "paired BCa bootstrap, permutation test"
    return PairedDifference(float(differences.mean()), interval, p_value, n, _deviation(differences), method=method)


def mcnemar_p_value(gained: int, lost: int) -> float:
    """Return the two-sided mid-p value of McNemar's test: of the counts observed, half of their probability counts.

    Source: M. W. Fagerland, S. Lydersen and P. Laake, The McNemar test for binary matched-pairs data: mid-p and
    asymptotic are better than exact conditional, BMC Medical Research Methodology 13 (2013).
    """
    if gained == lost:
        return 1.0
    halved = stats.binom(gained + lost, 0.5)
    return float(2 * halved.cdf(min(gained, lost)) - halved.pmf(min(gained, lost)))


def stratified_mean_interval(strata: Sequence[Floats], settings: InferenceSettings) -> Interval | None:
    """Return the BCa interval of the mean of the strata's means, each stratum (a benchmark's task) resampled by itself.

    None with fewer than two values in a stratum. Strata without any spread: the bounded-score interval at their
    effective size.
    """
    if not strata or min(len(stratum) for stratum in strata) < 2:
        return None

    def mean_of_means(*samples: Floats, axis: int = -1) -> Any:
        return sum(np.mean(sample, axis=axis) for sample in samples) / len(samples)

    interval = bca_interval(strata, mean_of_means, settings, paired=False)[0]
    sizes = np.array([len(stratum) for stratum in strata])
    value, effective = float(mean_of_means(*strata)), float(len(sizes) * stats.hmean(sizes))
    if interval or min(float(stratum.min()) for stratum in strata) < 0:
        return interval or zero_variance_interval(value, effective, settings.level)
    return rate_interval(value * effective, effective, settings.level)


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted by Holm's step-down method; the last axis is the family.

    scipy has none, and statsmodels' multipletests brings pandas and collects garbage at each call.
    """
    order = np.argsort(p_values, axis=-1, kind="stable")
    stepped = np.take_along_axis(p_values, order, -1) * np.arange(p_values.shape[-1], 0, -1)
    adjusted = np.empty(p_values.shape)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(stepped, -1), 1), -1)
    return adjusted


def _deviation(differences: Floats) -> float:
    """Return the standard deviation with half an example gained and half one lost added, so that it is never 0.

    For 0/1 scores this is the adjustment of Agresti and Min (2005) for matched proportions.
    """
    n = len(differences) + 2
    return float(np.sqrt(((differences**2).sum() + 1) / n - (differences.sum() / n) ** 2))
