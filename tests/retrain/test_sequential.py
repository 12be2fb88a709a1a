import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad

from whether.retrain.sequential import likely_change, mean_factor, p_factor, stake, wealth


def test_the_factor_of_a_uniform_p_value_has_expectation_one():
    # With p = exp(-u), up to the smallest p that counts as it is, and what lies beyond.
    found, _ = quad(lambda u: p_factor(math.exp(-u)) * math.exp(-u), 0, 27, limit=500)
    assert found + 1 / 27 == pytest.approx(1, abs=1e-3)
    assert p_factor(0.001) > p_factor(0.01) > 1 > p_factor(0.9) > 0.4
    assert p_factor(1.0) == pytest.approx(0.5)
    assert math.isfinite(p_factor(0.0))


@pytest.mark.parametrize("least", [0.3, 0.8, 0.97])
def test_the_factor_of_scores_has_expectation_one_at_most(least):
    def expectation(mean):
        total = 0.0
        for scores in itertools.product((0.0, 1.0), repeat=6):
            right = sum(scores)
            total += mean**right * (1 - mean) ** (6 - right) * mean_factor(np.array(scores), least)
        return total

    assert expectation(least) == pytest.approx(1)
    assert expectation(min(least + 0.02, 1.0)) < 1 < expectation(least - 0.2)
    assert mean_factor(np.array([]), least) == 1
    assert mean_factor(np.zeros(5000), least) < math.inf


def test_wealth_is_one_at_first_and_starts_anew_every_night():
    assert wealth([]) == 1
    assert wealth([1.0] * 50) == pytest.approx(1)
    assert wealth([4.0]) == pytest.approx(stake(1) * 4 + 1 - stake(1))
    assert sum(stake(night) for night in range(1, 100_000)) == pytest.approx(1, abs=1e-4)
    quiet_then_change = [0.5] * 200 + [20.0] * 6
    assert wealth(quiet_then_change) > 20 > wealth(quiet_then_change[:200])


def test_a_long_quiet_series_rarely_raises_an_alarm():
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        factors = [p_factor(p) for p in random.random(200)]
        under_way, kept = 0.0, 1.0
        highest = 0.0
        for night, factor in enumerate(factors, 1):  # as `wealth` does, after every night
            kept -= stake(night)
            under_way = (under_way + stake(night)) * factor
            highest = max(highest, under_way + kept)
        assert wealth(factors) == pytest.approx(under_way + max(kept, 0))
        alarms += highest >= 20
    assert alarms <= 0.05 * 300


def test_the_likely_change_is_where_the_product_is_largest():
    assert likely_change([0.5, 0.5, 3.0, 0.9, 5.0]) == 2
    assert likely_change([7.0]) == 0
    assert likely_change([0.0, 2.0]) == 1
