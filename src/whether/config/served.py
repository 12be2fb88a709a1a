"""A model behind an API: where it is, how it is asked, and what its tokens cost."""

import re
from dataclasses import field
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field
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


SECRET = ConfigDict(**STRICT, hide_input_in_errors=True)
"""Of settings that could hold a secret in the wrong place: no message shows a value."""
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SECRET_HEADER = re.compile(
    r"(^|[-_])(auth(orization|entication)?|cookie|token|secret|password|credentials?|key)($|[-_])|apikey", re.IGNORECASE
)


@dataclass(frozen=True, config=SECRET)
class RequestConfig:
    """How a server's requests differ from the common form. What is left at its default is learnt from the server's
    own refusals (docs/served.md)."""

    rename: dict[str, str] = field(default_factory=dict)
    """Field of the request → its name at this server, such as `max_tokens: max_completion_tokens`."""
    drop: list[str] = field(default_factory=list)
    """Fields that are not sent, such as `seed`."""
    add: dict[str, Any] = field(default_factory=dict)
    """Further fields of every request, as JSON; answers are kept under them, since they can change an answer."""
    headers: dict[str, str] = field(default_factory=dict)
    """Header of every request → its value; never a secret."""
    headers_env: dict[str, str] = field(default_factory=dict)
    """Header → name of the environment variable that holds its value. Never the value itself."""
    content: Literal["auto", "text", "parts"] = "auto"
    """Whether a message's content is a text or a list of parts; `auto`: text, until the server wants parts."""
    system: Literal["auto", "system", "developer", "user"] = "auto"
    """Role of the instruction; `user`: it goes at the head of the first user message. `auto`: `system`, until the
    server refuses that role."""
    stream: Literal["auto"] | bool = "auto"
    """Whether answers come as a stream; `auto`: only where the server has no other way."""
    thinking_effort: Annotated[str, Field(pattern="^[a-z]+$")] | None = None
    """Sent as `reasoning_effort`, such as none, minimal, low, medium or high; None: not sent."""
    thinking_tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens that an answer may take for thinking, on top of the prompt's `max_new_tokens`."""

    def __post_init__(self) -> None:
        fixed = {"model", "messages"} & {*self.rename, *self.rename.values(), *self.drop, *self.add}
        if fixed:
            raise ValueError(
                f"request: {', '.join(sorted(fixed))} cannot be renamed, dropped or added: expected other fields"
            )
        for name in [*self.headers, *self.headers_env]:
            if not _HEADER.fullmatch(name) or name.lower() in ("host", "content-length", "content-type"):
                raise ValueError("request.headers: expected names of headers such as x-project, not host or content-*")
        for name in self.headers:
            if _SECRET_HEADER.search(name):
                raise ValueError(
                    f"request.headers: {name} looks like a secret: write headers_env: {{{name}: NAME_OF_A_VARIABLE}},"
                    " and put its value into the environment"
                )
        if any(not value.isascii() or not value.isprintable() for value in self.headers.values()):
            raise ValueError("request.headers: a value holds characters that no header can have")
        if any(not VARIABLE.fullmatch(variable) for variable in self.headers_env.values()):
            raise ValueError("request.headers_env must hold names of environment variables, such as MY_KEY, no values")


@dataclass(frozen=True, config=SECRET)
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
    request: Annotated[RequestConfig, BeforeValidator(lambda value: {} if value is None else value)] = field(
        default_factory=RequestConfig
    )
    """What this server wants otherwise than most; null: nothing that is not learnt from it."""

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        # No message shows a value that could be, or hold, a secret in the wrong place.
        if url.username is not None or url.password is not None or url.query or url.fragment:
            raise ValueError("base_url must hold no password, query or fragment: a key goes into the environment")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("base_url must be an address such as http://127.0.0.1:8000/v1")
        if self.api_key_env is not None and not VARIABLE.fullmatch(self.api_key_env):
            raise ValueError(
                "api_key_env must be the name of an environment variable, such as OPENAI_API_KEY, not a key"
            )
