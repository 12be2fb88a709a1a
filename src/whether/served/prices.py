"""What a provider's tokens cost by a list that others keep: genai-prices (pydantic), an extra."""

from datetime import date
from importlib.metadata import version
from typing import NamedTuple

from whether.config import TokenPrice
from whether.errors import MissingPackageError, SourceError

TOKENS = 1000
"""Asked about at once: a prompt short enough for the lowest of a model's prices."""


class ListedPrice(NamedTuple):
    """A model's price, as the list has it."""

    provider: str
    model: str
    """Its name in the list."""
    price: TokenPrice
    remarks: list[str]
    """What the price leaves out, a sentence each."""


def listed_price(model: str, base_url: str | None, today: date) -> ListedPrice:
    """Look a model up by its name at the provider, and by the provider's address where it is given.

    The list lies in the package; nothing is read from the network. Raises SourceError for a model that is not in it,
    and MissingPackageError without the extra.
    """
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        raise MissingPackageError("genai-prices", "prices", "a listed price") from None

    def usd_per_1m(usage: Usage) -> float:
        found = calc_price(usage, model, provider_api_url=base_url)
        return round(float(found.total_price) / TOKENS * 1e6, 9)

    try:
        found = calc_price(Usage(input_tokens=TOKENS), model, provider_api_url=base_url)
        read, written = usd_per_1m(Usage(input_tokens=TOKENS)), usd_per_1m(Usage(output_tokens=TOKENS))
        cached = usd_per_1m(Usage(input_tokens=TOKENS, cache_read_tokens=TOKENS))
    except LookupError as error:
        where = f" at {base_url}" if base_url else ""
        raise SourceError(
            f"genai-prices {version('genai-prices')} has no price of {model!r}{where} ({error}): read it on the"
            " provider's page and write it into the checkpoint's file (docs/served.md)"
        ) from None
    pages = found.provider.pricing_urls or [found.provider.name]
    source = f"{pages[0]} (genai-prices {version('genai-prices')})"
    price = TokenPrice(today.isoformat(), source, read, written, cached if cached < read else None)
    remarks = [found.model.price_comments] if found.model.price_comments else []
    steps = [name for name, value in vars(found.model_price).items() if hasattr(value, "tiers")]
    if steps:
        remarks.append("long prompts cost more; this is the price of short ones")
    return ListedPrice(found.provider.name, found.model.name or found.model.id, price, remarks)
