"""One request to an OpenAI-compatible server: sent again after a fault that may pass, else one clear error."""

import logging
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from whether.config import ServedConfig
from whether.errors import EngineError, near_matches

if TYPE_CHECKING:
    import httpx2
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

T = TypeVar("T")
Body = Mapping[str, Any]
"""A request, as JSON."""

MAX_BACKOFF = 30.0
"""Longest wait before another attempt, in seconds, where the server does not name one."""
MAX_RETRY_AFTER = 600.0
"""Longest wait, in seconds, that a server may ask for; a longer one is an error, so that no run hangs for hours."""
SHOWN = 500
"""Characters of a server's own words in a message."""


class Reply(NamedTuple, Generic[T]):
    """What a server answered to one request, and how long it took."""

    content: T
    seconds: float
    """From sending the request to the answer's last byte, without attempts that failed."""


class _TransientError(Exception):
    """A fault that may be gone at the next attempt, which must not come before `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: float = 0.0):
        super().__init__(reason)
        self.retry_after = retry_after


class _NotFoundError(Exception):
    """Status 404: the server does not know the path, or the model. Its own words."""


class Connection:
    """Connections to a served model's API, open within one event loop.

    A refused or cut connection, a time-out, status 429 or 5xx and an answer that is not the JSON that was asked for
    are tried again, `config.attempts` times in all, after random waits whose bound doubles (exponential back-off with
    full jitter: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015) and after at least what the
    server's Retry-After says. Any other status but 200 is an EngineError at once.
    """

    def __init__(self, config: ServedConfig, key: str | None, client: "httpx2.AsyncClient"):
        self.config = config
        self.url = str(client.base_url)
        self._key = key
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, config: ServedConfig, url: str, key: str | None) -> AsyncIterator["Connection"]:
        """Yield connections to the API at `url`, which ends in a slash; they are closed in the end."""
        import httpx2

        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=config.concurrency)
        # Each attempt has a time limit of its own, over all of it.
        async with httpx2.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=None) as client:
            yield cls(config, key, client)

    async def post(self, path: str, body: Body, adapter: TypeAdapter[T]) -> Reply[T]:
        """Send a request and return what it was answered."""
        try:
            return await self._try("POST", path, body, lambda response: self._read(response, adapter))
        except _NotFoundError as error:
            raise EngineError(await self._not_found(path, str(error))) from None

    async def get(self, url: str) -> Any:
        """Return a JSON document of the server, or None where it has none."""

        def read(response: "httpx2.Response") -> Any:
            try:
                return response.json() if response.status_code == 200 else None
            except ValueError:
                return None

        return (await self._try("GET", url, None, read)).content

    async def _try(
        self,
        method: str,
        url: str,
        body: Body | None,
        read: Callable[["httpx2.Response"], T],
    ) -> Reply[T]:
        """Make attempts until `read` takes the response or they are used up."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        backoff = wait_random_exponential(multiplier=1, max=MAX_BACKOFF)

        def wait(state: "RetryCallState") -> float:
            return backoff(state) + _error(state).retry_after

        def log(state: "RetryCallState") -> None:
            seconds = state.next_action.sleep if state.next_action else 0.0
            logger.info(
                "%s %s; asking again in %.1f s (attempt %d of %d failed)",
                self.url, _error(state), seconds, state.attempt_number, self.config.attempts,
            )  # fmt: skip

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.config.attempts),
            wait=wait,
            retry=retry_if_exception_type(_TransientError),
            before_sleep=log,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, method, url, body, read)
        except _TransientError as error:
            raise EngineError(f"the server at {self.url} {error} ({self.config.attempts} attempts)") from None

    async def _attempt(
        self,
        method: str,
        url: str,
        body: Body | None,
        read: Callable[["httpx2.Response"], T],
    ) -> Reply[T]:
        import httpx2
        from anyio import fail_after

        start = time.perf_counter()
        try:
            with fail_after(self.config.timeout):
                response = await self._client.request(method, url, json=body)
        except TimeoutError:
            raise _TransientError(
                f"gave no whole answer within {self.config.timeout:g} s: raise timeout, or lower concurrency"
            ) from None
        except httpx2.ConnectError as error:
            raise _TransientError(f"cannot be reached: {error}: is it up, and is base_url right?") from None
        except httpx2.RequestError as error:
            raise _TransientError(f"did not finish its answer: {str(error) or type(error).__name__}") from None
        seconds = time.perf_counter() - start
        if response.status_code == 429 or response.status_code >= 500:
            reason = f"answers {response.status_code}: {self._words(response)}"
            retry_after = _retry_after(response)
            if retry_after > MAX_RETRY_AFTER:
                raise EngineError(
                    f"the server at {self.url} {reason}; it asks to wait {retry_after:.0f} s, so run again after that"
                )
            raise _TransientError(reason, retry_after)
        return Reply(read(response), seconds)

    def _read(self, response: "httpx2.Response", adapter: TypeAdapter[T]) -> T:
        """Return a response's content, or raise what its status means."""
        status = response.status_code
        if status == 404:
            raise _NotFoundError(self._words(response))
        if status in (401, 403):
            raise EngineError(f"{self.url} answers {status}: {self._words(response)}; {self._key_advice()}")
        if status != 200:
            where = response.headers.get("location")
            moved = f"; it points to {where}: is base_url right?" if where else ""
            raise EngineError(f"{self.url} refuses the request ({status}): {self._words(response)}{moved}")
        try:
            return adapter.validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise _TransientError(
                f"answers something else than the API's JSON ({where + ': ' if where else ''}{first['msg']}):"
                f" {self._words(response)!r}"
            ) from None

    def _key_advice(self) -> str:
        if self.config.api_key_env:
            return f"check the key in the environment variable {self.config.api_key_env}"
        return "set api_key_env to the name of the environment variable that holds your key"

    async def _not_found(self, path: str, words: str) -> str:
        """Say whether it is the model or the address that a server does not know."""
        listed = await self.get("models")
        models = [entry.get("id", "") for entry in listed["data"]] if _lists_models(listed) else []
        if models and self.config.model not in models:
            return f"{self.url} has no model {self.config.model!r}{near_matches(self.config.model, models)}"
        return f"{self.url} answers 404 for {path}: {words}; is base_url right? It often ends in /v1"

    def _words(self, response: "httpx2.Response") -> str:
        """Return a server's own message, shortened, and without the key where it repeats it."""
        text = _message(response)
        if self._key:
            text = text.replace(self._key, "***")
        return text if len(text) <= SHOWN else f"{text[:SHOWN]} …"


def api_key(variable: str | None) -> str | None:
    """Return the key that an environment variable holds, which no message ever shows; EngineError if it does not."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineError(f"the environment variable {variable}, which api_key_env names, is not set")
    if not (key.isascii() and key.isprintable()):
        raise EngineError(f"the environment variable {variable} holds characters that no key can have")
    return key


def _error(state: "RetryCallState") -> _TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _TransientError)
    return error


def _retry_after(response: "httpx2.Response") -> float:
    """Return the seconds that a Retry-After header asks to wait (RFC 9110, 10.2.3: seconds or a date); 0 without."""
    value = response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def _message(response: "httpx2.Response") -> str:
    """Return what a response says: OpenAI's {"error": {"message"}}, FastAPI's {"detail"} or its text."""
    try:
        found = response.json()
    except ValueError:
        found = None
    for key in ("error", "detail", "message"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return found if isinstance(found, str) else " ".join(response.text.split())


def _lists_models(listed: Any) -> bool:
    return isinstance(listed, dict) and all(isinstance(entry, dict) for entry in listed.get("data") or [None])
