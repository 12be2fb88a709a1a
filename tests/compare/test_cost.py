"""Cost from measured quantities, and the volume at which tuning pays."""

import math
from dataclasses import replace

import pytest

from whether.compare.cost import ArmCost, break_even, training_cost, usd_to_build
from whether.config import PolicyConfig, PricingConfig
from whether.records import CheckpointMetrics
from whether.stats.intervals import Interval

PRICES = PricingConfig(
    name="test", date="2026-01-01", source="test", machine="test", usd_per_machine_hour=3.6, usd_per_label=0.1
)


def test_prices():
    spent = ArmCost(0.5, 300, CheckpointMetrics(labels_used=200, train_seconds_with_evaluation=1000), 500)
    assert spent.usd_per_1k(PRICES) == pytest.approx(0.5)
    assert usd_to_build(
        300, CheckpointMetrics(labels_used=200, train_seconds_with_evaluation=1000), PRICES
    ) == pytest.approx(31)
    assert spent.usd_to_build(PRICES) == pytest.approx(31.5)
    policy = PolicyConfig(monthly_requests=10_000, months=12)
    assert spent.usd_per_month(PRICES, policy) == pytest.approx(5 + 31.5 / 12)


def test_training_costs_labels_machine_time_and_energy_that_was_measured():
    training = CheckpointMetrics(labels_used=200, train_seconds_with_evaluation=1000, flops=2e13, energy=7.2e6)
    cost = training_cost(training, PRICES)
    assert (cost.labels, cost.seconds, cost.flops, cost.energy, cost.peak_memory) == (200, 1000, 2e13, 7.2e6, None)
    assert (cost.usd_labels, cost.usd_machine, cost.usd_energy) == (pytest.approx(20), pytest.approx(1), None)
    assert cost.usd == pytest.approx(21)
    electric = replace(PRICES, usd_per_kwh=0.3)
    assert training_cost(training, electric).usd_energy == pytest.approx(0.6)
    assert training_cost(training, electric).usd == usd_to_build(200, training, electric) == pytest.approx(21.6)
    unmeasured = training_cost(replace(training, energy=None), electric)
    assert (unmeasured.usd_energy, unmeasured.usd) == (None, pytest.approx(21))


@pytest.mark.parametrize(
    ("per_1k", "to_build", "outcome"),
    [
        ((1, 2), (10, 5), "above"),
        ((2, 1), (5, 10), "below"),
        ((1, 2), (5, 5), "always"),
        ((2, 1), (10, 5), "never"),
        ((1, 1), (10, 5), "never"),
    ],
)
def test_break_even_is_where_both_cost_the_same(per_1k, to_build, outcome):
    expenses = expense(per_1k[0], to_build[0]), expense(per_1k[1], to_build[1])
    found = break_even("tuned", "prompt", expenses, PRICES, PolicyConfig(months=12))
    assert found.outcome == outcome
    if outcome in ("above", "below"):
        tuned, prompt = (
            build / 12 + run * found.requests_per_month / 1000 for run, build in zip(per_1k, to_build, strict=True)
        )
        assert tuned == pytest.approx(prompt)
    else:
        assert found.requests_per_month is None


def expense(per_1k: float, to_build: float) -> ArmCost:
    """Return one with these prices."""
    return ArmCost(per_1k, 0, CheckpointMetrics(labels_used=0, train_seconds_with_evaluation=1000 * to_build), 0)


def test_people_cost_to_build_and_retraining_costs_each_time_its_machine():
    ours = ArmCost(0.2, 300, CheckpointMetrics(labels_used=300, train_seconds_with_evaluation=1000), 0, person_hours=8)
    theirs = ArmCost(0.5, 0, CheckpointMetrics(labels_used=0, train_seconds_with_evaluation=0), 500, person_hours=2)
    prices = replace(PRICES, usd_per_person_hour=50)
    policy = PolicyConfig(monthly_requests=10_000, months=12, retrain_months=3)
    assert ours.usd_to_build(PRICES) == pytest.approx(31)
    assert ours.usd_to_build(prices) == pytest.approx(431)
    assert ours.usd_to_retrain(prices) == pytest.approx(1)
    assert ours.usd_per_month(prices, policy) == pytest.approx(2 + 431 / 12 + 1 / 3)
    found = break_even("tuned", "prompt", (ours, theirs), prices, policy)
    at_break_even = replace(policy, monthly_requests=round(found.requests_per_month))
    assert ours.usd_per_month(prices, at_break_even) == pytest.approx(theirs.usd_per_month(prices, at_break_even), 1e-3)
    assert "over 12 months and retrained every 3 months it is the cheaper one at more than" in found.reason


def test_drivers_are_the_difference_with_half_and_twice_of_each_quantity():
    ours, theirs = (
        ArmCost(0.2, 300, CheckpointMetrics(labels_used=300, train_seconds_with_evaluation=1000), 0),
        ArmCost(0.5, 100, CheckpointMetrics(labels_used=0, train_seconds_with_evaluation=0), 0),
    )
    policy = PolicyConfig(monthly_requests=10_000, months=12)
    found = break_even("tuned", "prompt", (ours, theirs), PRICES, policy)
    assert found.usd_per_month == pytest.approx(-3 + 21 / 12)
    moved = {driver.name: (driver.usd_half, driver.usd_double) for driver in found.drivers}
    assert moved["requests a month"] == pytest.approx((-1.5 + 21 / 12, -6 + 21 / 12))
    assert moved["months to spread building over"] == pytest.approx((-3 + 21 / 6, -3 + 21 / 24))
    assert moved["price of a label"] == pytest.approx((-3 + 11 / 12, -3 + 41 / 12))
    assert moved["price of a machine hour"] == pytest.approx((-1.5 + 20.5 / 12, -6 + 22 / 12))
    assert moved["time of a request, tuned"] == pytest.approx((-4 + 21 / 12, -1 + 21 / 12))
    assert moved["time of a request, prompt"] == pytest.approx((-0.5 + 21 / 12, -8 + 21 / 12))
    swings = [abs(driver.usd_double - driver.usd_half) for driver in found.drivers]
    assert swings == sorted(swings, reverse=True)


@pytest.mark.parametrize(
    ("to_build", "running", "low", "high"),
    [
        ((10, 5), (-2.0, -0.5), 1000 * 5 / 12 / 2, 1000 * 5 / 12 / 0.5),
        ((10, 5), (-2.0, 0.1), 1000 * 5 / 12 / 2, None),
        ((10, 5), (0.2, 0.4), None, None),
        ((5, 10), (0.5, 2.0), 1000 * 5 / 12 / 2, 1000 * 5 / 12 / 0.5),
        ((5, 10), (-0.3, 0.4), 1000 * 5 / 12 / 0.4, None),
    ],
)
def test_the_interval_of_a_break_even_follows_from_that_of_running_costs(to_build, running, low, high):
    middle = sum(running) / 2
    expenses = expense(3 + middle, to_build[0]), expense(3, to_build[1])
    found = break_even("tuned", "prompt", expenses, PRICES, PolicyConfig(months=12), running=Interval(*running))
    assert (found.ci_low, found.ci_high) == (low and pytest.approx(low), high and pytest.approx(high))
    volume = found.requests_per_month
    if volume is not None:
        assert low <= volume <= (high or math.inf)
        assert f"(interval {low:,.0f} to {f'{high:,.0f}' if high else 'never'})" in found.reason
    elif low is not None:
        assert f"it may be the dearer one above {low:,.0f} requests a month" in found.reason
