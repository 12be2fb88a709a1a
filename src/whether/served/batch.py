"""Many requests of one call: the first alone, then side by side; each is answered, or has failed with a reason.

The first answer shows whether the server is there and how it wants to be asked, before others are paid. A refusal that
names what the server wants is heeded, and the request sent again. One that speaks of the text is that request's own
failure, and so is a fault that stays while other requests are answered.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter

from whether.errors import EngineError
from whether.served.chat import Unusable
from whether.served.dialect import Body, DialectMemory, advice
from whether.served.http import Connection, ExhaustedError, RefusedError, Reply
from whether.served.refusal import Refusal

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRIES = 3
"""Requests that may come to nothing before the first answer: then it is how all are asked, or the server."""


class Failure(NamedTuple):
    """Why one request has no answer."""

    reason: str
    by_row: bool
    """Whether it is for sure the one text that was asked."""
    weight: int = 1
    """Of `TRIES`: a fault that stayed over all attempts has taken long."""


class RequestBatch(Generic[T]):
    """Requests of one call on their way."""

    def __init__(
        self, connection: Connection, path: str, adapter: TypeAdapter[T], dialects: DialectMemory, *,
        optional: frozenset[str], judge: Callable[[T], Unusable | None], receive: Callable[[str, Reply[T]], None],
        most_failed: int | None,
    ):  # fmt: skip
        """`optional` are fields that may be left out, and `receive` gets each reply. With `most_failed` the call ends
        with an EngineError where more requests fail."""
        self._connection, self._path, self._adapter, self._dialects = connection, path, adapter, dialects
        self._optional, self._judge, self._receive, self._most = optional, judge, receive, most_failed
        self.failures: dict[str, Failure] = {}
        self._total = 0
        self._broken = 0
        """Faults that stayed over all attempts, since the last answer."""

    async def send(self, bodies: Mapping[str, Body], *, answered: int) -> None:
        """Send every body. `answered` of the call's requests are there already.

        Raises EngineError for what ends the call.
        """
        from anyio import create_task_group

        self._total = answered + len(bodies)
        waiting = deque(bodies.items())
        await self._send_first(waiting)

        async def work() -> None:
            while waiting:
                key, body = waiting.popleft()
                outcome = await self._ask(body)
                if isinstance(outcome, Failure):
                    self._fail(key, outcome)
                else:
                    self._broken = 0
                    self._count_unusable(key, outcome)

        try:
            async with create_task_group() as group:
                for _ in range(min(self._connection.config.concurrency, len(waiting))):
                    group.start_soon(work)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _send_first(self, waiting: deque[tuple[str, Body]]) -> None:
        """Send requests one at a time until there is an answer that can be used."""
        held: list[tuple[str, Failure]] = []
        came = False
        while waiting:
            key, body = waiting.popleft()
            outcome = await self._ask(body)
            if isinstance(outcome, Failure) and not outcome.by_row:
                held.append((key, outcome))
            elif isinstance(outcome, Failure):
                self._fail(key, outcome)
            else:
                came, unusable = True, self._judge(outcome.content)
                self._count_unusable(key, outcome)
                if unusable is None:
                    break
                if not unusable.by_row:
                    held.append(("", Failure(unusable.reason, by_row=False)))
            if sum(failure.weight for _, failure in held) >= TRIES:
                raise EngineError(self._explained(held))
        else:
            if held and not came:
                raise EngineError(self._explained(held))
        for key, failure in held:
            if key:
                self._fail(key, failure)

    def _explained(self, held: list[tuple[str, Failure]]) -> str:
        reason = held[0][1].reason
        if len(held) == 1 or not all(failure.reason == reason for _, failure in held):
            return reason
        return f"{reason} (the first {len(held)} requests alike; nothing more was sent)"

    async def _ask(self, body: Body) -> Reply[T] | Failure:
        """Send a request, as often as a refusal of it teaches something."""
        while True:
            dialect = self._dialects.now
            try:
                return await self._connection.post(self._path, dialect.sent(body), self._adapter)
            except RefusedError as error:
                if dialect != self._dialects.now:  # another request was refused in the meantime, and it was heeded
                    continue
                failure = self._heed(error.refusal, body)
                if failure:
                    return failure
            except ExhaustedError as error:
                if not error.of_request:
                    raise
                return Failure(str(error), by_row=False, weight=2)

    def _heed(self, refusal: Refusal, body: Body) -> Failure | None:
        """Learn from a refusal, or return why the request has failed. Raises EngineError for what all would meet."""
        sent, url = self._dialects.now.sent(body), self._connection.url
        said = f"{url} refuses the request ({refusal.status}): {refusal.words}"
        named = [name for name in refusal.named(frozenset(sent)) if name not in ("model", "messages")]
        if refusal.is_too_long:
            return Failure(f"{said} (the text is longer than the model's context)", by_row=True)
        if refusal.is_filtered_by_code or (refusal.is_filtered and not (refusal.param and named)):
            return Failure(f"{said} (a content filter)", by_row=refusal.status != 403)
        learnt = self._dialects.learn(body, refusal, self._optional)
        if learnt:
            logger.warning("%s: %s; its words: %s", url, learnt, refusal.words)
            return None
        advised = advice(refusal, sent)
        if refusal.param and named:
            raise EngineError(f"{said}{advised}")
        return Failure(f"{said}{advised}", by_row=False)

    def _count_unusable(self, key: str, reply: Reply[T]) -> None:
        """Take a reply, and count it where it is none of the model's answers."""
        self._receive(key, reply)
        found = self._judge(reply.content)
        if found and found.failed:
            self._fail(key, Failure(found.reason, by_row=True))

    def _fail(self, key: str, failure: Failure) -> None:
        """Record a failure. Raises EngineError where too many requests have failed."""
        self.failures[key] = failure
        if not failure.by_row and failure.weight > 1:
            self._broken += 1
            if self._broken >= TRIES:
                raise EngineError(failure.reason)
        if self._most is not None and len(self.failures) > self._most:
            raise EngineError(
                f"{len(self.failures)} of {self._total} requests have failed, more than the {self._most} that"
                f" policy.max_failed allows; the last one: {failure.reason}"
            )
