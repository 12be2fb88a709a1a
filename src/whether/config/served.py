"""A model behind an API: where it is, how it is asked, and what its tokens cost."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from whether.config.types import STRICT, Count, NotNegative, Positive


@dataclass(frozen=True, config=STRICT)
class TokenPrice:
    """What a provider asks for tokens, in USD a million, and when and where that was read."""

    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    source: Annotated[str, Field(min_length=1)]
    usd_per_1m_input: NotNegative
    usd_per_1m_output: NotNegative
    usd_per_1m_cached_input: NotNegative | None = None
    """Of input that the server says it had computed before; None: as other input."""

    def usd(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0) -> float:
        """Return the price of so many tokens; the cached ones are among the input."""
        cached = self.usd_per_1m_input if self.usd_per_1m_cached_input is None else self.usd_per_1m_cached_input
        fresh = (input_tokens - cached_tokens) * self.usd_per_1m_input
        return (fresh + cached_tokens * cached + output_tokens * self.usd_per_1m_output) / 1e6


@dataclass(frozen=True, config=ConfigDict(**STRICT, hide_input_in_errors=True))
class ServedConfig:
    """A model behind an OpenAI-compatible HTTP API, and how requests are sent to it."""

    base_url: str
    """Address of the API, which `/chat/completions` follows; for most servers it ends in `/v1`."""
    model: Annotated[str, Field(min_length=1)]
    """Name of the model at the server."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None: the server wants none. Never the key itself."""
    concurrency: Count = 8
    """Requests under way at the same time, at most."""
    timeout: Positive = 120.0
    """Seconds for one attempt at a request, from connecting to the answer's last byte."""
    attempts: Count = 6
    """How often a request is sent, at most, while the server is busy, broken or not there."""
    price: TokenPrice | None = None
    """None: not known; a checkpoint of a run needs it."""
    max_cost: NotNegative | None = 1.0
    """USD that all answers of this model may cost, in all runs on this machine; None: no limit."""

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        # No message shows a value that could be, or hold, a secret in the wrong place.
        if url.username is not None or url.password is not None or url.query or url.fragment:
            raise ValueError("base_url must hold no password, query or fragment: a key goes into the environment")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("base_url must be an address such as http://127.0.0.1:8000/v1")
        if self.api_key_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.api_key_env):
            raise ValueError(
                "api_key_env must be the name of an environment variable, such as OPENAI_API_KEY, not a key"
            )
