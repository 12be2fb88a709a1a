"""Intervals and tests, against independent computations and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score
from statsmodels.stats.multitest import multipletests

from tests.shipped_metrics import MACRO_F1, label_totals
from whether.stats.inference import holm, mean_interval, score_difference, stratified_mean_interval
from whether.stats.intervals import InferenceSettings, rate_interval, tango_interval
from whether.stats.totals import estimate_difference, estimate_interval

QUICK = InferenceSettings(resamples=2000)


def pairs(gained: int, lost: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.ones(n), np.ones(n)
    b[:gained], a[gained : gained + lost] = 0, 0
    return a, b


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 17), (208, 208), (1, 1)])
def test_wilson_solves_the_score_equation(successes, n):
    z, p = stats.norm.ppf(0.975), successes / n
    for bound in rate_interval(successes, n, 0.95):
        assert (p - bound) ** 2 == pytest.approx(z * z * bound * (1 - bound) / n, abs=1e-9)


@pytest.mark.parametrize(("gained", "lost", "n"), [(10, 5, 100), (3, 0, 20), (0, 4, 50), (20, 2, 40), (5, 5, 10)])
def test_tango_inverts_the_score_test_maximised_on_a_grid(gained, lost, n):
    for bound, sign in zip(tango_interval(gained, lost, n, 0.95), (1, -1), strict=True):
        b_only = np.linspace(max(0.0, -bound), (1 - bound) / 2, 400_001)[1:-1]
        likelihood = (n - gained - lost) * np.log(1 - bound - 2 * b_only)
        likelihood += gained * np.log(b_only + bound) if gained else 0
        likelihood += lost * np.log(b_only) if lost else 0
        best = b_only[likelihood.argmax()]
        statistic = (gained - lost - n * bound) / math.sqrt(n * (2 * best + bound - bound**2))
        assert statistic == pytest.approx(sign * stats.norm.ppf(0.975), abs=1e-3)


@pytest.mark.parametrize(("gained", "lost", "n"), [(0, 0, 50), (0, 0, 1), (1, 0, 1), (0, 9, 9), (12, 0, 12)])
def test_degenerate_pairs_have_an_interval_of_some_width(gained, lost, n):
    a, b = pairs(gained, lost, n)
    result = score_difference(a, b, QUICK)
    assert -1 <= result.interval.low <= result.difference <= result.interval.high <= 1
    assert result.interval.high - result.interval.low > 0.02
    assert result.deviation > 0


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (9, 2), (15, 15), (30, 4)])
def test_p_value_of_right_and_wrong_is_the_exact_binomial_with_half_of_what_was_observed(gained, lost):
    a, b = pairs(gained, lost, 80)
    exact = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    observed = stats.binom.pmf(gained, gained + lost, 0.5) if gained != lost else 0.0
    assert score_difference(a, b, QUICK).p_value == pytest.approx(exact - observed)


def bca_by_hand(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Efron (1987), written out."""
    rng, n, normal = np.random.default_rng(seed), len(values), stats.norm
    means = np.sort(rng.choice(values, (resamples, n)).mean(1))
    bias = normal.ppf((means < values.mean()).mean())
    left_out = (values.sum() - values) / (n - 1)
    spread = left_out.mean() - left_out
    acceleration = (spread**3).sum() / (6 * (spread**2).sum() ** 1.5)
    ends = []
    for z in normal.ppf([0.025, 0.975]):
        ends.append(np.quantile(means, normal.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))))
    return ends[0], ends[1]


@pytest.mark.heavy
def test_graded_difference_is_the_bca_interval_written_out():
    rng = np.random.default_rng(3)
    a, b = rng.beta(4, 2, 150), rng.beta(3, 2, 150)
    result = score_difference(a, b, InferenceSettings(resamples=20_000))
    assert tuple(result.interval) == pytest.approx(bca_by_hand(a - b, 20_000, 11), abs=0.003)
    signs = np.random.default_rng(5).choice([-1, 1], (20_000, 150))
    by_hand = (abs((signs * (a - b)).mean(1)) >= abs((a - b).mean())).mean()
    assert result.p_value == pytest.approx(by_hand, abs=0.01)


def test_equal_graded_scores_are_no_difference():
    scores = np.linspace(0.1, 0.9, 40)
    result = score_difference(scores, scores, QUICK)
    assert (result.difference, result.p_value) == (0, 1)
    assert result.interval.low < 0 < result.interval.high


def labels(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.choice(5, n, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    a, b = (np.where(rng.random(n) < right, targets, rng.integers(-1, 5, n)) for right in (0.85, 0.7))
    return a, b, targets


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_that_of_scikit_learn_over_labels_that_occur(seed):
    answers, _, targets = labels(30, seed)
    expected = f1_score(targets, answers, labels=range(5), average="macro", zero_division=np.nan)
    totals = label_totals(np.stack([answers, targets]), targets, 5)
    assert MACRO_F1.value(totals.sum(-2), 30) == pytest.approx([expected, 1.0])
    assert MACRO_F1.estimate(totals) == pytest.approx((expected + 1) / 2)


def test_macro_f1_difference_agrees_with_a_plain_paired_bootstrap():
    a, b, targets = labels(200, 1)
    result = estimate_difference(label_totals(a, targets, 5), label_totals(b, targets, 5), MACRO_F1, QUICK)
    rng = np.random.default_rng(9)
    rows = rng.integers(0, 200, (2000, 200))
    sample = np.subtract(*(MACRO_F1.value(label_totals(x, targets, 5)[rows].sum(-2), 200) for x in (a, b)))
    assert tuple(result.interval) == pytest.approx(tuple(np.quantile(sample, [0.025, 0.975])), abs=0.03)
    assert result.deviation / math.sqrt(200) == pytest.approx(sample.std(), rel=0.1)


def test_macro_f1_without_an_error_has_an_interval_and_rare_labels_widen_it():
    even, skewed = np.repeat([0, 1], 50), np.repeat([0, 1], [95, 5])
    assert estimate_interval(label_totals(even, even, 5), MACRO_F1, QUICK).low == pytest.approx(
        rate_interval(100, 100, 0.95).low
    )
    assert (
        estimate_interval(label_totals(skewed, skewed, 5), MACRO_F1, QUICK).low
        < estimate_interval(label_totals(even, even, 5), MACRO_F1, QUICK).low
    )
    assert (
        estimate_difference(label_totals(even, even, 5), label_totals(even, even, 5), MACRO_F1, QUICK).interval.high > 0
    )


def test_means_of_what_cannot_spread():
    assert mean_interval(np.full(9, 250.0), QUICK) is None
    assert mean_interval(np.array([250.0]), QUICK) is None
    assert mean_interval(np.ones(9), QUICK) == rate_interval(9, 9, 0.95)


def test_strata_are_resampled_by_themselves():
    strata = [np.array([1.0] * 30 + [0.0] * 30), np.array([1.0] * 10 + [0.0] * 50)]
    low, high = stratified_mean_interval(strata, InferenceSettings())
    error = math.sqrt(sum(stratum.var() / 60 for stratum in strata)) / 2
    assert (low, high) == pytest.approx((1 / 3 - 1.96 * error, 1 / 3 + 1.96 * error), abs=0.01)
    still = stratified_mean_interval([np.zeros(60), np.zeros(20)], InferenceSettings())
    assert still.low == pytest.approx(0, abs=1e-12)
    assert still.high == pytest.approx(rate_interval(0, 60, 0.95).high)
    assert stratified_mean_interval([np.zeros(1)], InferenceSettings()) is None


def test_holm_by_hand_and_by_statsmodels():
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([])).tolist() == []
    p_values = np.random.default_rng(0).random(30) ** 4
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_the_same_seed_gives_the_same_numbers():
    a, b, targets = labels(60, 2)
    assert estimate_difference(
        label_totals(a, targets, 5), label_totals(b, targets, 5), MACRO_F1, QUICK
    ) == estimate_difference(label_totals(a, targets, 5), label_totals(b, targets, 5), MACRO_F1, QUICK)


def multinomial(rng: np.random.Generator, n: int, gained: float, lost: float, runs: int) -> np.ndarray:
    return rng.multinomial(n, [gained, lost, 1 - gained - lost], runs)[:, :2]


@pytest.mark.parametrize(
    ("n", "gained", "lost"), [(50, 0.1, 0.05), (208, 0.12, 0.03), (208, 0.02, 0.01), (500, 0.03, 0.02)]
)
def test_tango_covers(n, gained, lost):
    runs, rng = 1500, np.random.default_rng(0)
    covered = 0
    for right_in_a, right_in_b in multinomial(rng, n, gained, lost, runs):
        low, high = tango_interval(int(right_in_a), int(right_in_b), n, 0.95)
        covered += low <= gained - lost <= high
    assert covered / runs == pytest.approx(0.95, abs=0.025)


def test_the_bootstrap_does_not_cover_with_few_discordant_pairs():
    """Why differences of right/wrong scores do not use it."""
    runs, n, gained, lost, covered = 250, 50, 0.04, 0.02, 0
    for right_in_a, right_in_b in multinomial(np.random.default_rng(0), n, gained, lost, runs):
        differences = np.repeat([1.0, -1.0, 0.0], [right_in_a, right_in_b, n - right_in_a - right_in_b])
        if np.ptp(differences) > 0:
            result = stats.bootstrap((differences,), np.mean, n_resamples=500, rng=np.random.default_rng(1))
            covered += result.confidence_interval.low <= gained - lost <= result.confidence_interval.high
    assert covered / runs < 0.92


def repeated(values: np.ndarray, times: int) -> np.ndarray:
    return np.repeat(values, times)


@pytest.mark.parametrize("times", [2, 10])
def test_rows_repeated_in_groups_tell_no_more_than_one_of_each(times):
    rng = np.random.default_rng(0)
    a, b = (rng.random(150) < 0.8).astype(float), (rng.random(150) < 0.7).astype(float)
    grouped = QUICK._replace(clusters=repeated(np.arange(150), times))
    once, many = score_difference(a, b, QUICK), score_difference(repeated(a, times), repeated(b, times), grouped)
    naive = score_difference(repeated(a, times), repeated(b, times), QUICK)
    width = np.ptp(once.interval)
    assert np.ptp(many.interval) == pytest.approx(width, rel=0.03)
    assert np.ptp(naive.interval) < 0.8 * width
    assert many.p_value == pytest.approx(once.p_value, abs=0.03)
    assert many.deviation / (150 * times) ** 0.5 == pytest.approx(once.deviation / 150**0.5, rel=0.03)
    rate, alone = mean_interval(repeated(a, times), grouped), mean_interval(a, QUICK)
    assert rate == pytest.approx(alone, abs=0.03 * np.ptp(alone) + 0.002)


def test_groups_of_one_are_independent_rows():
    rng = np.random.default_rng(1)
    a, b = rng.random(200), rng.random(200)
    grouped = QUICK._replace(clusters=np.arange(200))
    one, other = score_difference(a, b, QUICK), score_difference(a, b, grouped)
    assert other.interval == pytest.approx(one.interval, abs=0.05 * np.ptp(one.interval))
    assert mean_interval(a, grouped) == pytest.approx(mean_interval(a, QUICK), abs=0.005)
    targets, answers = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    assert estimate_interval(label_totals(answers, targets, 5), MACRO_F1, grouped) == pytest.approx(
        estimate_interval(label_totals(answers, targets, 5), MACRO_F1, QUICK), abs=0.015
    )


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["rate", "difference", "graded", "macro_f1"])
def test_intervals_of_grouped_rows_hold_the_truth(kind):
    rng, held, runs = np.random.default_rng(5), 0, 400
    for _ in range(runs):
        clusters = np.repeat(np.arange(40), rng.integers(1, 8, 40))
        shared = rng.standard_normal((2, 40))[:, clusters] * 0.6**0.5
        noise = shared + rng.standard_normal((2, len(clusters))) * 0.4**0.5
        settings = InferenceSettings(resamples=100, clusters=clusters)
        right = (noise < stats.norm.ppf([[0.8], [0.7]])).astype(float)
        if kind == "rate":
            interval, truth = mean_interval(right[0], settings), 0.8
        elif kind == "difference":
            interval, truth = score_difference(right[0], right[1], settings).interval, 0.1
        elif kind == "graded":
            interval, truth = score_difference(noise[0], noise[1], settings).interval, 0.0
        else:
            targets = rng.integers(0, 3, len(clusters))
            answers = np.where(right[0] > 0, targets, (targets + 1) % 3)
            interval, truth = estimate_interval(label_totals(answers, targets, 5), MACRO_F1, settings), 0.8
        held += interval[0] <= truth <= interval[1]
    assert held / runs == pytest.approx(0.95, abs=0.035)


def test_one_group_or_no_difference_has_an_interval_of_some_width():
    clusters = np.zeros(10, dtype=np.int64)
    alone = score_difference(np.ones(10), np.zeros(10), QUICK._replace(clusters=clusters))
    assert alone.interval.low < 0.5
    same = score_difference(np.ones(10), np.ones(10), QUICK._replace(clusters=np.arange(10) // 2))
    assert same.interval.low < -0.2
    assert same.p_value == 1.0
    assert same.deviation > 0
