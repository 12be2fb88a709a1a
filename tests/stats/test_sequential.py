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


@pytest.mark.parametrize("lower_mean", [0.3, 0.8, 0.97])
@pytest.mark.parametrize("risk", RISKS)
def test_the_factor_of_scores_has_expectation_one_at_most(lower_mean, risk):
    def expectation(mean):
        total = 0.0
        for scores in itertools.product((0.0, 1.0), repeat=6):
            right = sum(scores)
            total += mean**right * (1 - mean) ** (6 - right) * mean_factor(np.array(scores), lower_mean, risk)
        return total

    assert expectation(lower_mean) == pytest.approx(1)
    assert expectation(min(lower_mean + 0.02, 1.0)) < 1 < expectation(lower_mean - 0.2)
    assert mean_factor(np.zeros(50_000), lower_mean, risk) < math.inf


def test_evidence_of_scores():
    assert mean_e_process([], 0.9) == pytest.approx(1)
    good, bad = np.array([1.0] * 19 + [0.0]), np.array([1.0] * 14 + [0.0] * 6)
    assert mean_e_process([good] * 30, 0.9) < 1
    assert mean_e_process([good] * 30 + [bad] * 8, 0.9) > 100
    assert mean_e_process([bad] * 9, 0.0) == 1


def test_wealth_is_one_at_first_and_starts_again_at_every_step():
    assert wealth([]) == 1
    assert wealth([1.0] * 50) == pytest.approx(1)
    assert wealth([4.0]) == pytest.approx(prior_weight(1) * 4 + 1 - prior_weight(1))
    assert sum(prior_weight(step) for step in range(1, 100_000)) == pytest.approx(1, abs=1e-4)
    quiet_then_change = [0.5] * 200 + [20.0] * 6
    assert wealth(quiet_then_change) > 20 > wealth(quiet_then_change[:200])


@pytest.mark.heavy
def test_a_long_quiet_series_rarely_raises_an_alarm():
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        p_values = random.random(200)
        factors = np.array([[p_factor(p, exponent) for p in p_values] for exponent in EXPONENTS])
        invested, reserved = np.zeros(len(EXPONENTS)), 1.0
        highest = 0.0
        for step in range(1, 201):  # as `wealth` does, after every step
            reserved -= prior_weight(step)
            invested = (invested + prior_weight(step)) * factors[:, step - 1]
            highest = max(highest, float(invested.mean()) + reserved)
        assert p_value_e_process(p_values) == pytest.approx(float(invested.mean()) + reserved)
        alarms += highest >= 20
    assert alarms <= 0.05 * 400


def test_the_likely_change_is_where_p_values_become_small():
    assert change_point([0.5, 0.9, 0.01, 0.2, 0.02]) == 2
    assert change_point([0.7]) == 0
