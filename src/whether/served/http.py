"""One request to an OpenAI-compatible server: sent again after a fault that may pass, else one clear error."""

import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from whether.config import ServedConfig
from whether.errors import EngineError, near_matches
from whether.served.access import Access
from whether.served.refusal import Refusal, read_refusal
from whether.served.stream import is_stream, join_stream

if TYPE_CHECKING:
    import httpx2
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

T = TypeVar("T")
MAX_BACKOFF = 30.0
"""Longest wait before another attempt, in seconds, where the server does not name one."""
MAX_RETRY_AFTER = 600.0
"""Longest wait, in seconds, that a server may ask for; a longer one is an error, so that no run hangs for hours."""
SHOWN = 500
"""Characters of a server's own words in a message."""
REFUSING = (400, 413, 422)
"""Statuses that say that the request is not as the server wants it, or its text cannot be answered."""
TRANSIENT = (408, 409, 425, 429)
"""Statuses, next to those from 500, that may be gone at the next attempt."""


class Reply(NamedTuple, Generic[T]):
    """What a server answered to one request, and how long it took."""

    content: T
    seconds: float
    """From sending the request to the answer's last byte, without attempts that failed."""


class _TransientError(Exception):
    """A fault that may be gone at the next attempt, which must not come before `retry_after` seconds.

    `of_request`: where it stays, it may be this one request that the server cannot answer.
    """

    def __init__(self, reason: str, retry_after: float = 0.0, *, of_request: bool = False):
        super().__init__(reason)
        self.retry_after, self.of_request = retry_after, of_request


class _NotFoundError(Exception):
    """Status 404: the server does not know the path, or the model. Its own words."""


class RefusedError(Exception):
    """A server refuses one request, and would refuse it again as it is."""

    def __init__(self, refusal: Refusal):
        super().__init__(refusal)
        self.refusal = refusal


class ExhaustedError(EngineError):
    """A fault stayed over all attempts. `of_request`: it may be that of this one request, and others be answered."""

    def __init__(self, message: str, of_request: bool = False):
        super().__init__(message, of_request)
        self.of_request = of_request

    def __str__(self) -> str:
        return str(self.args[0])


class Connection:
    """Connections to a served model's API, open within one event loop.

    A refused or cut connection, a time-out, status 408, 409, 425, 429 or 5xx and an answer that is not the JSON that
    was asked for are tried again, `config.attempts` times in all, after random waits whose bound doubles (exponential
    back-off with full jitter: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015) and after at least
    what the server's Retry-After says. Status 400, 413 and 422 are a RefusedError, as is a 403 of a content filter; any
    other status but 200 is an EngineError at once. No redirect is followed: it could lead the key to another host.
    """

    def __init__(self, config: ServedConfig, access: Access, client: "httpx2.AsyncClient"):
        self.config = config
        self.url = str(client.base_url)
        self._access = access
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, config: ServedConfig, url: str, access: Access) -> AsyncIterator["Connection"]:
        """Yield connections to the API at `url`, which ends in a slash; they are closed in the end."""
        import httpx2

        limits = httpx2.Limits(max_connections=config.concurrency)
        # Each attempt has a time limit of its own, over all of it.
        async with httpx2.AsyncClient(
            base_url=url, headers=access.headers, limits=limits, timeout=None, follow_redirects=False
        ) as client:
            yield cls(config, access, client)

    async def post(self, path: str, body: dict[str, Any], adapter: TypeAdapter[T]) -> Reply[T]:
        """Send a request and return what it was answered.

        Raises RefusedError where the server refuses it, ExhaustedError where a fault stays, and else EngineError.
        """
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
        body: dict[str, Any] | None,
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
            message = f"the server at {self.url} {error} ({self.config.attempts} attempts)"
            raise ExhaustedError(message, error.of_request) from None

    async def _attempt(
        self,
        method: str,
        url: str,
        body: dict[str, Any] | None,
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
                f"gave no whole answer within {self.config.timeout:g} s: raise timeout, or lower concurrency",
                of_request=True,
            ) from None
        except httpx2.ConnectError as error:
            raise _TransientError(f"cannot be reached: {error}: is it up, and is base_url right?") from None
        except httpx2.RequestError as error:
            reason = f"did not finish its answer: {str(error) or type(error).__name__}"
            raise _TransientError(reason, of_request=True) from None
        seconds = time.perf_counter() - start
        if _is_transient(response.status_code):
            refusal = self._refusal(response)
            if response.status_code == 429 and refusal.is_too_large:  # however long one waits
                raise RefusedError(refusal)
            self._raise_transient(response.status_code, refusal.words, _retry_after(response))
        return Reply(read(response), seconds)

    def _raise_transient(self, status: int, words: str, retry_after: float) -> NoReturn:
        reason = f"answers {status}: {words}"
        if retry_after > MAX_RETRY_AFTER:
            raise EngineError(
                f"the server at {self.url} {reason}; it asks to wait {retry_after:.0f} s, so run again after that"
            )
        raise _TransientError(reason, retry_after, of_request=status != 429)

    def _read(self, response: "httpx2.Response", adapter: TypeAdapter[T]) -> T:
        """Return a response's content, or raise what its status means."""
        if response.status_code != 200:
            self._raise(response.status_code, self._refusal(response), response.headers.get("location"))
        text = response.text.removeprefix("\ufeff")
        try:
            kind = response.headers.get("content-type", "")
            found = join_stream(text) if is_stream(kind, text) else json.loads(text)
            if isinstance(found, dict):
                self._check_inside(found, text)
            return adapter.validate_python(found)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            reason = f"{where + ': ' if where else ''}{first['msg']}"
        except ValueError as error:
            reason = str(error)
        raise _TransientError(
            f"answers something else than the API's JSON ({reason}): {self._refusal(response).words!r}"
        ) from None

    def _raise(self, status: int, refusal: Refusal, location: str | None = None) -> NoReturn:
        """Raise what a status other than 200 means, where trying again does not help."""
        if status == 404:
            raise _NotFoundError(refusal.words)
        if status in REFUSING or (status == 403 and refusal.is_filtered):
            raise RefusedError(refusal)
        if status in (401, 403):
            raise EngineError(f"{self.url} answers {status}: {refusal.words}; {self._key_advice()}")
        where = self._access.mask(location.partition("?")[0]) if location else ""
        moved = f"; it points to {where}, which is not followed: is base_url right?" if where else ""
        raise EngineError(f"{self.url} refuses the request ({status}): {refusal.words}{moved}")

    def _check_inside(self, found: dict[str, Any], text: str) -> None:
        """Raise what an error inside status 200 means, by the status that it names."""
        choices = found.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        about = found.get("error") or first.get("error")
        if about and not (first.get("message") or {}).get("content"):
            code = about.get("code") if isinstance(about, dict) else None
            status = int(str(code)) if str(code).isdigit() and 400 <= int(str(code)) < 600 else 500
            refusal = self._masked(read_refusal(status, {"error": about}, text))
            if _is_transient(status):
                self._raise_transient(status, refusal.words, 0.0)
            self._raise(status, refusal)
        if first.get("finish_reason") == "error" and not (first.get("message") or {}).get("content"):
            raise _TransientError("could not finish the answer (finish_reason error)", of_request=True)

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

    def _refusal(self, response: "httpx2.Response") -> Refusal:
        """Return a server's own words, shortened, and without secrets where it repeats them."""
        try:
            document = response.json()
        except ValueError:
            document = None
        return self._masked(read_refusal(response.status_code, document, response.text))

    def _masked(self, refusal: Refusal) -> Refusal:
        words = self._access.mask(refusal.words)
        return refusal._replace(words=words if len(words) <= SHOWN else f"{words[:SHOWN]} …")


def _is_transient(status: int) -> bool:
    return status in TRANSIENT or status >= 500


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


def _lists_models(listed: Any) -> bool:
    return isinstance(listed, dict) and all(isinstance(entry, dict) for entry in listed.get("data") or [None])
