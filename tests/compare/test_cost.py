"""Cost from measured quantities, and the volume at which tuning pays."""

import pytest

from whether.compare.cost import break_even, usd_per_1k, usd_per_month, usd_to_build
from whether.config import PolicyConfig, PricingConfig

PRICES = PricingConfig(
    name="test", date="2026-01-01", source="test", machine="test", usd_per_machine_hour=3.6, usd_per_label=0.1
)


def test_prices():
    assert usd_per_1k(0.5, PRICES) == pytest.approx(0.5)
    assert usd_to_build(300, 1000, PRICES) == pytest.approx(31)
    assert usd_per_month(0.5, 24, PolicyConfig(monthly_requests=10_000, months=12)) == pytest.approx(7)


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
    found = break_even("tuned", "prompt", per_1k, to_build, months=12)
    assert found.outcome == outcome
    if outcome in ("above", "below"):
        tuned, prompt = (
            build / 12 + run * found.requests_per_month / 1000 for run, build in zip(per_1k, to_build, strict=True)
        )
        assert tuned == pytest.approx(prompt)
    else:
        assert found.requests_per_month is None
