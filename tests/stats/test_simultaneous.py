"""Intervals and p-values of a family: they hold together, and never disagree."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, studentized_range

from tests.shipped_metrics import label_totals, metric
from whether.stats.inference import score_difference
from whether.stats.intervals import InferenceSettings, Interval, PairedDifference
from whether.stats.simultaneous import MaxStatistic, pair_covariance, per_comparison_alpha, simultaneous_differences
from whether.stats.totals import estimate_difference

PAIRS = list(combinations("abc", 2))


@pytest.mark.parametrize("arms", ["ab", "abc", "abcde"])
def test_pairs_of_equal_arms_are_judged_as_tukey_has_it(arms):
    pairs = list(combinations(arms, 2))
    each = per_comparison_alpha(pairs, np.ones(len(pairs)), 0.05)
    assert norm.isf(each / 2) == pytest.approx(studentized_range.isf(0.05, len(arms), np.inf) / 2**0.5, abs=0.001)


def test_small_p_values_are_right_too_and_never_zero():
    largest = MaxStatistic(pair_covariance(PAIRS, np.ones(3)))
    assert largest.adjusted(1e-12) == pytest.approx(3e-12, rel=0.02)  # Bonferroni's, as overlaps are rare there
    assert largest.adjusted(1.0) == pytest.approx(1.0)


def test_deviations_that_no_three_arms_have_are_corrected_by_bonferroni():
    largest = MaxStatistic(pair_covariance(PAIRS, np.array([0.01, 0.3, 0.1])))
    assert (largest.adjusted(0.01), largest.adjusted(0.5)) == (0.03, 1.0)
    assert per_comparison_alpha(PAIRS, np.array([0.01, 0.3, 0.1]), 0.06) == pytest.approx(0.02)


def test_differences_that_are_one_are_not_corrected():
    assert MaxStatistic(np.ones((2, 2))).per_comparison(0.05) == pytest.approx(0.05)


@pytest.mark.parametrize("kind", ["groups", "runs"])
def test_two_arms_that_answer_alike_and_a_third_one_have_a_verdict(kind):
    rng = np.random.default_rng(0)
    same = (rng.random(120) < 0.8).astype(float)
    other = same.copy()
    other[[3, 40, 77, 110]] = 1 - other[[3, 40, 77, 110]]
    arms = {"a": same, "b": same.copy(), "c": other}
    clusters = np.repeat(np.arange(6), 20) if kind == "groups" else None
    if kind == "runs":
        arms = {name: (rng.random((3, 120)) < 0.5).astype(float) for name in "abc"} | {"a": same}

    def difference(pair: tuple[str, str], level: float) -> PairedDifference:
        settings = InferenceSettings(level, resamples=200, clusters=clusters)
        return score_difference(arms[pair[0]], arms[pair[1]], settings)

    differences = {pair: difference(pair, 0.95) for pair in PAIRS}
    found = simultaneous_differences(differences, lambda pair, level: difference(pair, level).interval, 0.95)
    for row in found.values():
        assert (row.interval.low > 0 or row.interval.high < 0) == (row.p_adjusted < 0.05)
        assert np.isfinite([*row.interval, row.p_adjusted, row.power]).all()


def test_a_pair_alone_is_not_corrected():
    row = PairedDifference(0.04, Interval(0.01, 0.07), 0.01, 200, 0.2)
    found = simultaneous_differences({("a", "b"): row}, lambda *_: row.interval, 0.95)
    assert (found["a", "b"].interval, found["a", "b"].p_adjusted) == (row.interval, row.p_value)
    assert simultaneous_differences({}, lambda *_: row.interval, 0.95) == {}


def test_power_is_that_of_the_normal_test():
    row = PairedDifference(0.0, Interval(-0.03, 0.03), 1.0, 400, 0.3)
    found = simultaneous_differences({("a", "b"): row}, lambda *_: row.interval, 0.95)
    assert found["a", "b"].power == pytest.approx(norm.sf(1.96 - 0.05 / 0.015), abs=1e-3)


RATES = st.tuples(*[st.floats(0.3, 1.0)] * 3)


@given(st.integers(5, 150), RATES, st.sampled_from(["rates", "graded", "macro-F1"]), st.integers(0, 999))
def test_an_interval_leaves_out_zero_exactly_where_the_adjusted_test_rejects(n, rates, kind, seed):
    rng = np.random.default_rng(seed)
    right = (rng.random(n) < np.array(rates)[:, None]).astype(float)
    if kind == "graded":
        right = np.clip(right * rng.random((3, n)), 0, 1)
    estimator, totals = metric("accuracy"), right[..., None]
    if kind == "macro-F1":
        estimator = metric("macro_f1")
        targets = rng.integers(0, 2, n)
        answers = np.where(right == 1, targets, 1 - targets)
        totals = np.stack([label_totals(row, targets, 2) for row in answers])
    arms = dict(zip("abc", totals, strict=True))

    def difference(pair: tuple[str, str], level: float) -> PairedDifference:
        x, y = (arms[name] for name in pair)
        return estimate_difference(x, y, estimator, InferenceSettings(level, resamples=200))

    differences = {pair: difference(pair, 0.95) for pair in combinations("abc", 2)}
    found = simultaneous_differences(differences, lambda pair, level: difference(pair, level).interval, 0.95)
    for row in found.values():
        low, high = row.interval
        assert (low > 0 or high < 0) == (row.p_adjusted < 0.05)
        assert row.p_adjusted >= row.estimate.p_value - 1e-9
        assert low <= row.estimate.difference <= high


@pytest.mark.heavy
def test_all_three_hold_the_truth_together():
    rng, held = np.random.default_rng(0), 0
    for _ in range(500):
        shared, own = rng.random(120), rng.random((3, 120))
        mixed = np.where(rng.random((3, 120)) < 0.6, shared, own)
        truth = dict(zip("abc", (0.8, 0.85, 0.9), strict=True))
        arms = {name: (mixed[k] < rate).astype(float) for k, (name, rate) in enumerate(truth.items())}

        def difference(pair, level, arms=arms):
            return score_difference(arms[pair[0]], arms[pair[1]], InferenceSettings(level))

        differences = {pair: difference(pair, 0.95) for pair in combinations("abc", 2)}
        found = simultaneous_differences(differences, lambda p, level, of=difference: of(p, level).interval, 0.95)
        held += all(row.interval.low <= truth[x] - truth[y] <= row.interval.high for (x, y), row in found.items())
    assert 0.93 < held / 500 < 0.98
