import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad

from whether.stats.sequential import (
    EXPONENTS,
    RISKS,
    change_point,
    mean_e_process,
    mean_factor,
    p_factor,
    p_value_e_process,
    prior_weight,
    wealth,
)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_factor_of_a_uniform_p_value_has_expectation_one(exponent):
    assert quad(lambda p: exponent * p ** (exponent - 1), 0, 1, limit=500)[0] == pytest.approx(1, abs=1e-6)
    assert p_factor(0.001, exponent) > p_factor(0.5, exponent)
    assert p_factor(0.25, exponent) == pytest.approx(exponent * 0.25 ** (exponent - 1))
    assert math.isfinite(p_factor(0.0, exponent))


@pytest.mark.parametrize("least", [0.3, 0.8, 0.97])
@pytest.mark.parametrize("risk", RISKS)
def test_the_factor_of_scores_has_expectation_one_at_most(least, risk):
    def expectation(mean):
        total = 0.0
        for scores in itertools.product((0.0, 1.0), repeat=6):
            right = sum(scores)
            total += mean**right * (1 - mean) ** (6 - right) * mean_factor(np.array(scores), least, risk)
        return total

    assert expectation(least) == pytest.approx(1)
    assert expectation(min(least + 0.02, 1.0)) < 1 < expectation(least - 0.2)
    assert mean_factor(np.zeros(50_000), least, risk) < math.inf


def test_evidence_of_scores():
    assert mean_e_process([], 0.9) == pytest.approx(1)
    good, bad = np.array([1.0] * 19 + [0.0]), np.array([1.0] * 14 + [0.0] * 6)
    assert mean_e_process([good] * 30, 0.9) < 1
    assert mean_e_process([good] * 30 + [bad] * 8, 0.9) > 100
    assert mean_e_process([bad] * 9, 0.0) == 1


def test_wealth_is_one_at_first_and_starts_anew_every_night():
    assert wealth([]) == 1
    assert wealth([1.0] * 50) == pytest.approx(1)
    assert wealth([4.0]) == pytest.approx(prior_weight(1) * 4 + 1 - prior_weight(1))
    assert sum(prior_weight(night) for night in range(1, 100_000)) == pytest.approx(1, abs=1e-4)
    quiet_then_change = [0.5] * 200 + [20.0] * 6
    assert wealth(quiet_then_change) > 20 > wealth(quiet_then_change[:200])


@pytest.mark.heavy
def test_a_long_quiet_series_rarely_raises_an_alarm():
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        p_values = random.random(200)
        factors = np.array([[p_factor(p, exponent) for p in p_values] for exponent in EXPONENTS])
        under_way, kept = np.zeros(len(EXPONENTS)), 1.0
        highest = 0.0
        for night in range(1, 201):  # as `wealth` does, after every night
            kept -= prior_weight(night)
            under_way = (under_way + prior_weight(night)) * factors[:, night - 1]
            highest = max(highest, float(under_way.mean()) + kept)
        assert p_value_e_process(p_values) == pytest.approx(float(under_way.mean()) + kept)
        alarms += highest >= 20
    assert alarms <= 0.05 * 400


def test_the_likely_change_is_where_p_values_become_small():
    assert change_point([0.5, 0.9, 0.01, 0.2, 0.02]) == 2
    assert change_point([0.7]) == 0
