"""Intervals and tests against other libraries on the same arrays."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from whether.stats.inference import score_difference
from whether.stats.intervals import InferenceSettings, rate_interval

Arrays = tuple[np.ndarray, np.ndarray]


def rights(n: int, rates: tuple[float, float], seed: int) -> Arrays:
    """Return two arms' 0/1 scores, correlated."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    first, second = ((0.6 * hard + 0.4 * rng.random(n) < rate).astype(float) for rate in rates)
    return first, second


def grades(n: int, seed: int) -> Arrays:
    """Return two arms' scores between 0 and 1, correlated."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    first, second = (np.clip(0.7 * hard + 0.3 * rng.random(n) + shift, 0, 1) for shift in (0.05, 0.02))
    return first, second


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (7, 50), (193, 208), (1999, 2000)])
def test_rate_interval_is_scipys(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert rate_interval(successes, n, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [50, 400])
def test_p_value_of_rates_is_scipys_sign_test_with_half_of_what_was_observed(n, seed):
    a, b = rights(n, (0.7, 0.6), seed)
    gained, lost = int((a > b).sum()), int((a < b).sum())
    assert score_difference(a, b, InferenceSettings()).p_value == pytest.approx(
        stats.binomtest(gained, gained + lost).pvalue - stats.binom.pmf(gained, gained + lost, 0.5), abs=1e-12
    )


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(3))
def test_graded_differences_of_many_examples_are_those_of_the_t_test(seed):
    a, b = grades(500, seed)
    found, expected = score_difference(a, b, InferenceSettings()), DescrStatsW(a - b)
    width = np.ptp(expected.tconfint_mean(0.05))
    assert found.interval == pytest.approx(expected.tconfint_mean(0.05), abs=0.05 * width)
    assert found.p_value == pytest.approx(expected.ttest_mean()[1], abs=0.01)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [lambda seed: rights(60, (0.7, 0.6), seed), lambda seed: grades(120, seed)])
def test_results_are_those_of_mlflow(make, seed):
    module = pytest.importorskip("mlflow.genai.evaluation.comparison.paired_comparison", reason="needs mlflow 3.18")
    a, b = make(seed)
    found = score_difference(a, b, InferenceSettings())
    expected = module._compare_paired_values("score", b, a, value_type="numeric")
    assert found.difference == pytest.approx(expected.diff, abs=1e-12)
    if expected.method == "mcnemar_exact":
        # Its interval of rates is the bootstrap's, which is too narrow: test_inference.py measures by how much.
        assert found.p_value == pytest.approx(expected.p_value, abs=1e-12)
    else:
        width = expected.ci_high - expected.ci_low
        assert found.interval == pytest.approx((expected.ci_low, expected.ci_high), abs=0.02 * width)
