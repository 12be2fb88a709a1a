"""Many requests to an OpenAI-compatible server: side by side, each answered exactly once, over a restart too."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urljoin

from pydantic import TypeAdapter
from tqdm import tqdm

from whether.config import ServedConfig
from whether.errors import EngineError
from whether.records import sha256_json
from whether.served.access import access_of
from whether.served.batch import TRIES, Failure, RequestBatch
from whether.served.chat import Unusable
from whether.served.dialect import Body, Dialect, DialectMemory
from whether.served.http import Connection, Reply
from whether.served.journal import Entry, Journal

T = TypeVar("T")


class OptionalFields(NamedTuple):
    """What goes along with each body of a call where the server knows it."""

    wish: Body
    """What is wished for, however a server calls it; a reply is kept under it, whether or not the wish was known."""
    fields: Callable[[frozenset[str]], Body]
    """From the names of the fields that a server knows (`Endpoint.request_fields`) to the fields that are sent."""


class Endpoint:
    """The API of a served model, for many requests at once; `whether.served.http` says what a fault does to one."""

    def __init__(self, config: ServedConfig, journal: Path | None = None):
        """Raise EngineError if the environment does not hold the key that `config` names."""
        self.config = config
        self.url = config.base_url.rstrip("/") + "/"
        self._access = access_of(config)
        self._journal = Journal(journal) if journal else None
        self._dialects = DialectMemory(config.request, journal.with_suffix(".dialect.json") if journal else None)

    @property
    def dialect(self) -> Dialect:
        """How requests are sent to this server."""
        return self._dialects.now

    def post(
        self,
        path: str,
        bodies: Sequence[Body],
        kind: type[T],
        *,
        judge: Callable[[T], Unusable | None],
        optional: OptionalFields | None = None,
        check: Callable[[T], object] | None = None,
        most_failed: int | None = None,
        progress: str | None = None,
    ) -> list[Reply[T] | Failure]:
        """Send each distinct body once and return a reply of type `kind` to each, or why it has none, in their order.

        Replies that the journal holds are not asked for again. `judge` says which replies cannot be read as answers;
        where the first ones are all such, the call ends before more are paid. `check` raises EngineError for a reply
        that is of no use; it is then not recorded, and nothing more is sent. The server is asked for the fields that it
        knows only where something is `optional` and has to be sent. Raises EngineError for what trying again does not
        mend, and where more than `most_failed` requests fail.
        """
        adapter = TypeAdapter(kind)
        keys = [self._key_of(path, body, optional) for body in bodies]
        asked = Counter(keys)
        journal = self._journal
        hidden = True if progress is None else None  # None: where there is no terminal
        bar = tqdm(total=len(keys), desc=progress, unit="prompt", disable=hidden)
        found: dict[str, Reply[T] | Failure] = {}
        with bar, journal.open() if journal else nullcontext():
            known = [journal.entries[key] for key in asked if key in journal.entries] if journal else []
            found |= {entry.key: Reply(adapter.validate_python(entry.reply), entry.seconds) for entry in known}
            bar.update(sum(asked[key] for key in found))

            def receive(key: str, reply: Reply[T]) -> None:
                if check and not judge(reply.content):
                    check(reply.content)
                if journal:
                    journal.add(Entry(key, reply.seconds, adapter.dump_python(reply.content, mode="json")))
                found[key] = reply
                bar.update(asked[key])

            missing = {key: body for key, body in zip(keys, bodies, strict=True) if key not in found}
            if missing:
                _check_kept([judge(reply.content) for reply in found.values() if isinstance(reply, Reply)])
                added = optional.fields(self._known_fields) if optional else {}
                missing = {key: {**body, **added} for key, body in missing.items()}

                def batch(connection: Connection) -> RequestBatch[T]:
                    return RequestBatch(
                        connection, path, adapter, self._dialects, optional=frozenset(added), judge=judge,
                        receive=receive, most_failed=most_failed,
                    )  # fmt: skip

                failures = self._run(self._send, batch, missing, len(found))
                found = {**failures, **found}  # a reply that came says more
        return [found[key] for key in keys]

    def missing(self, path: str, bodies: Sequence[Body], optional: OptionalFields | None = None) -> dict[str, Body]:
        """Return those of the bodies, by their keys, that `post` would send: each once, and none the journal holds."""
        known = self.kept().keys()
        keyed = {self._key_of(path, body, optional): body for body in bodies}
        return {key: body for key, body in keyed.items() if key not in known}

    def kept(self) -> dict[str, Entry]:
        """Return what the journal holds, by key."""
        if self._journal is None:
            return {}
        with self._journal.open():
            return dict(self._journal.entries)

    def _key_of(self, path: str, body: Body, optional: OptionalFields | None) -> str:
        """Return what a reply is kept under: the request in its common form, however this server wants it."""
        wish = {"optional": dict(optional.wish)} if optional else {}
        return sha256_json({"url": self.url, "path": path, "body": dict(body), **wish})

    @cached_property
    def _known_fields(self) -> frozenset[str]:
        """`request_fields`, asked for once; none where the server gives an error instead."""
        try:
            return self.request_fields()
        except EngineError:  # where it is not there at all, the request itself says so
            return frozenset()

    def request_fields(self) -> frozenset[str]:
        """Return the fields of a chat request that the server's own OpenAPI document names; none if it has none."""
        document = self._run(self._get, urljoin(self.url, "../openapi.json"))
        try:
            return frozenset(document["components"]["schemas"]["ChatCompletionRequest"]["properties"])
        except (KeyError, TypeError):
            return frozenset()

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call an async function in an event loop of its own, so that this works inside a running one (a notebook)."""
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal() as portal:
            return portal.call(function, *arguments)

    async def _get(self, url: str) -> Any:
        async with Connection.open(self.config, self.url, self._access) as connection:
            return await connection.get(url)

    async def _send(
        self, make_batch: Callable[[Connection], RequestBatch[T]], bodies: Mapping[str, Body], answered: int
    ) -> dict[str, Failure]:
        """Send bodies, `config.concurrency` at a time, and return those that failed; an error stops them all."""
        async with Connection.open(self.config, self.url, self._access) as connection:
            batch = make_batch(connection)
            await batch.send(bodies, answered=answered)
            return batch.failures


def _check_kept(judged: Sequence[Unusable | None]) -> None:
    """Raise EngineError where what is kept of a call shows already that its answers cannot be read."""
    strange = [one.reason for one in judged if one and not one.by_row]
    if len(strange) >= TRIES and len(strange) == len(judged):
        raise EngineError(f"{strange[0]} (the first {len(strange)} requests alike; nothing more was sent)")
