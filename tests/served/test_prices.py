"""Prices of served models by the packaged list."""

import sys
from datetime import date

import pytest

from whether.errors import MissingPackageError, SourceError
from whether.served.prices import listed_price

TODAY = date(2026, 11, 28)
GROQ = "https://api.groq.com/openai/v1"


def test_a_model_is_found_by_its_name_and_by_its_providers_address() -> None:
    by_name, by_address = listed_price("gpt-4o-mini", None, TODAY), listed_price("llama-3.3-70b-versatile", GROQ, TODAY)
    assert (by_name.provider, by_address.provider) == ("OpenAI", "Groq")
    assert by_name.price.date == "2026-11-28"
    assert "https://" in by_name.price.source
    assert "genai-prices" in by_name.price.source
    assert (by_name.price.usd_per_1m_input, by_name.price.usd_per_1m_output) == (0.15, 0.6)
    assert by_name.price.usd_per_1m_cached_input == 0.075


def test_the_price_is_that_of_short_prompts_and_says_so() -> None:
    found = listed_price("gemini-2.5-pro", None, TODAY)
    assert (found.price.usd_per_1m_input, found.price.usd_per_1m_output) == (1.25, 10.0)
    assert "long prompts cost more; this is the price of short ones" in found.remarks


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:8000/v1"])
def test_a_model_that_is_not_listed(address: str | None) -> None:
    with pytest.raises(SourceError, match=r"no price of 'mine'.*write it into the checkpoint's file"):
        listed_price("mine", address, TODAY)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(MissingPackageError, match=r"whether\[prices\]"):
        listed_price("gpt-4o-mini", None, TODAY)
