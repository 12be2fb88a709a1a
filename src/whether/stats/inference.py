"""Intervals and tests for arms that answered the same examples.

What is used where:

- A rate: Wilson's score interval (Wilson 1927), which holds its level for few examples and near 0 and 1, where the
  normal approximation does not (Brown, Cai and DasGupta 2001; Bowyer et al. 2025).
- A difference of two rates on the same examples: Tango's score interval for paired proportions (Tango 1998) and
  McNemar's exact test. The bootstrap is not used here: with few discordant pairs its 95% intervals cover 87% to 92%
  (n = 50 to 500; tests/stats/test_inference.py measures it), and with none it has no width at all.
- Graded scores, times, tokens and macro-F1: BCa bootstrap over examples (Efron 1987), both arms of a pair resampled
  together, at a level that makes up for few examples (Hesterberg 2015), and a paired permutation test. Where every
  resample is equal, the bounded-score argument of `no_spread` takes its place.
- Examples that come in groups (several of one customer or document) are no independent observations. With
  `Inference.clusters` the group is the unit: standard errors are those of the jackknife that leaves out a group at a
  time, with Student's t of groups - 1 (Cameron and Miller 2015; Miller 2024 for evaluations), rates and differences of
  rates have the intervals above at their effective number of examples (Korn and Graubard 1998), and permutation tests
  exchange the arms for whole groups.
- Arms whose checkpoint was trained several times have scores of shape (runs, n): their intervals hold what another
  training run would change, too (`whether.stats.runs`).
- Several comparisons at once: Holm's correction (Holm 1979) for claims that two arms differ.

Intervals are two-sided at level 1 - alpha for each pair. For the at most three arms that the decision compares they are
wide enough for every "not worse than the best" claim together: such a claim is false only if the upper bound of (best
arm minus that arm) fails, there are at most two such bounds, and each fails with probability alpha / 2 (Bonferroni
over comparisons with the best: Hsu 1984; each claim needs all of its bounds, an intersection-union test: Berger 1982).
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from whether.stats.groups import (
    clustered_difference,
    clustered_mean_interval,
    effective_sample_size,
    group_permutation,
    jackknife,
    result_from_error,
)
from whether.stats.intervals import (
    BATCH,
    Codes,
    Floats,
    InferenceSettings,
    Interval,
    PairedDifference,
    Statistic,
    is_binary,
    mean,
    mean_difference,
    rate_interval,
    tango_interval,
    zero_variance_interval,
)
from whether.stats.runs import runs_difference, runs_mean_interval, runs_rate_interval, runs_score_difference


def mean_interval(values: Floats, settings: InferenceSettings) -> Interval | None:
    """Return the interval of a mean: Wilson's for 0/1 values, else BCa; None where nothing tells it.

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
    return _bca((values,), mean, settings)[0]


def unbounded_mean_interval(values: Floats, settings: InferenceSettings) -> Interval | None:
    """Return the BCa interval of the mean of amounts of any size, such as costs; None without spread."""
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    if settings.clusters is not None:
        return clustered_mean_interval(values, settings.clusters, settings.level, bounded=False)
    return _bca((values,), mean, settings)[0]


def macro_f1(answers: Codes, targets: Codes, axis: int = -1) -> Any:
    """Return the mean over labels of their F1; labels are codes from 0, and -1 is an answer that is no label.

    Labels that neither occur nor are answered have no F1 and are left out. Works on any leading shape, for resamples.
    """
    answers, targets = np.moveaxis(answers, axis, -1), np.moveaxis(np.broadcast_to(targets, answers.shape), axis, -1)
    shape, n = answers.shape[:-1], answers.shape[-1]
    width = int(max(answers.max(), targets.max())) + 2
    rows = np.repeat(np.arange(answers.size // n), n) * width + 1

    def count(codes: Codes) -> Any:
        return np.bincount(rows + codes, minlength=answers.size // n * width).reshape(-1, width)[:, 1:]

    flat_answers, flat_targets = answers.reshape(-1), targets.reshape(-1)
    right = count(np.where(flat_answers == flat_targets, flat_targets, -1))
    total = count(flat_answers) + count(flat_targets)
    f1 = np.divide(2 * right, total, out=np.zeros(total.shape), where=total > 0)
    return (f1.sum(-1) / (total > 0).sum(-1)).reshape(shape)[()]


def macro_f1_interval(answers: Codes, targets: Codes, settings: InferenceSettings) -> Interval:
    """Return the BCa interval of macro-F1 over examples (answer and target resampled together).

    Answers have shape (n,), or (runs, n).
    """
    if answers.ndim > 1:
        return runs_rate_interval((answers, targets), macro_f1, settings)
    if settings.clusters is not None:
        spread = jackknife((answers, targets), macro_f1, settings.clusters, settings.level)
        value = float(macro_f1(answers, targets))
        n = effective_sample_size(len(targets), value * (1 - value), spread, settings.level)
        return rate_interval(value * n, n, settings.level)
    n = _effective_examples(targets)
    bca = _bca((answers, targets), macro_f1, settings, worth=n)[0]
    if bca is not None:
        return bca
    return rate_interval(float(macro_f1(answers, targets)) * n, n, settings.level)


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
        p_value = float(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue) if gained + lost else 1.0
    else:
        interval = _bca((differences,), mean, settings)[0] or zero_variance_interval(
            float(differences.mean()), n, settings.level
        )
        p_value = _permutation(a, b, mean_difference, settings)
    return PairedDifference(float(differences.mean()), interval, p_value, n, _deviation(differences))


def macro_f1_difference(a: Codes, b: Codes, targets: Codes, settings: InferenceSettings) -> PairedDifference:
    """Return macro-F1 of answers `a` minus that of `b`, examples resampled and arms exchanged example by example."""

    def difference(x: Codes, y: Codes, t: Codes = targets, axis: int = -1) -> Any:
        return macro_f1(x, t, axis) - macro_f1(y, t, axis)

    if max(a.ndim, b.ndim) > 1:
        return runs_difference((a, b, targets), difference, settings)
    if settings.clusters is not None:
        spread = jackknife((a, b, targets), difference, settings.clusters, settings.level)
        p_value = group_permutation(a, b, difference, settings.clusters, settings)
        return result_from_error(float(difference(a, b)), spread, p_value, len(a), settings)
    value, n = float(difference(a, b)), _effective_examples(targets)
    interval, error = _bca((a, b, targets), difference, settings, worth=n)
    p_value = _permutation(a, b, difference, settings)
    deviation = error * np.sqrt(len(a)) if error else 1 / np.sqrt(n)
    return PairedDifference(
        value, interval or zero_variance_interval(value, n, settings.level), p_value, len(a), float(deviation)
    )


def stratified_mean_interval(strata: Sequence[Floats], settings: InferenceSettings) -> Interval | None:
    """Return the BCa interval of the mean of the strata's means, each stratum (a benchmark's task) resampled by itself.

    None with fewer than two values in a stratum. Strata without any spread: the bounded-score interval at their
    effective size.
    """
    if not strata or min(len(stratum) for stratum in strata) < 2:
        return None

    def mean_of_means(*samples: Floats, axis: int = -1) -> Any:
        return sum(np.mean(sample, axis=axis) for sample in samples) / len(samples)

    interval = _bca(strata, mean_of_means, settings, paired=False)[0]
    sizes = np.array([len(stratum) for stratum in strata])
    value, effective = float(mean_of_means(*strata)), float(len(sizes) * stats.hmean(sizes))
    if interval or min(float(stratum.min()) for stratum in strata) < 0:
        return interval or zero_variance_interval(value, effective, settings.level)
    return rate_interval(value * effective, effective, settings.level)


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted by Holm's step-down method; the last axis is the family.

    statsmodels' multipletests does the same and collects garbage at each call, 0.1 s where torch is loaded.
    """
    order = np.argsort(p_values, axis=-1, kind="stable")
    stepped = np.take_along_axis(p_values, order, -1) * np.arange(p_values.shape[-1], 0, -1)
    adjusted = np.empty(p_values.shape)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(stepped, -1), 1), -1)
    return adjusted


def _bca(
    columns: Sequence[NDArray[Any]], statistic: Statistic, settings: InferenceSettings, paired: bool = True,
    worth: float | None = None,
) -> tuple[Interval | None, float]:  # fmt: skip
    """Return the BCa interval and the bootstrap's standard error; (None, 0) where there is no spread to resample.

    `worth` is how many examples the statistic is worth, where that is fewer than there are.
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
            confidence_level=_expanded_level(settings.level, worth or min(len(column) for column in columns)),
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


def _permutation(a: NDArray[Any], b: NDArray[Any], statistic: Statistic, settings: InferenceSettings) -> float:
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


def _effective_examples(targets: Codes) -> float:
    """Return labels × the harmonic mean of their counts: how many examples an average over labels is worth."""
    counts = np.unique(targets, return_counts=True)[1]
    return float(len(counts) * stats.hmean(counts))


def _deviation(differences: Floats) -> float:
    """Return the standard deviation with half an example gained and half one lost added, so that it is never 0.

    For 0/1 scores this is the adjustment of Agresti and Min (2005) for matched proportions.
    """
    n = len(differences) + 2
    return float(np.sqrt(((differences**2).sum() + 1) / n - (differences.sum() / n) ** 2))
