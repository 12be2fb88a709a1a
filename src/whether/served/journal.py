"""Answers that have arrived, on disk, so that a run which is killed and started again asks only for the others."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from whether.errors import EngineError
from whether.records import named_write_errors, read_jsonl, to_builtins


@dataclass(frozen=True)
class Entry:
    """One answer: a line of the journal."""

    key: str
    """SHA-256 of all that determines the answer: the server's address, the path and the request's body."""
    seconds: float
    """Time from sending the request to the answer's last byte."""
    reply: dict[str, Any]
    """What of the answer is used."""


class Journal:
    """A file of JSON lines that grows by one line an answer; a line that was not written whole does not count."""

    def __init__(self, path: Path):
        self.path = path
        self.entries: dict[str, Entry] = {}
        """Answers by their key, as of the last `open`, and those added since."""
        self._stream: IO[bytes] | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Read what is there and keep the file open for more.

        Raises EngineError if another process has it open, and RecordError for a line that is no entry or a file that
        cannot be written.
        """
        from filelock import FileLock, Timeout

        with named_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock = FileLock(f"{self.path}.lock", timeout=0).acquire()
            except Timeout:
                raise EngineError(
                    f"{self.path} is in use by another process: wait until it is done, or give each its own journal"
                ) from None
            with lock, self.path.open("ab", buffering=0) as self._stream:
                _drop_torn_line(self.path)
                self.entries = {entry.key: entry for entry in read_jsonl(self.path, Entry)}
                yield

    def add(self, entry: Entry) -> None:
        """Append an entry, in one system call: a killed process leaves the whole line or a beginning of it."""
        assert self._stream is not None, "add() belongs into `with journal.open()`"
        line = json.dumps(to_builtins(entry)).encode() + b"\n"
        if self._stream.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.entries[entry.key] = entry


def _drop_torn_line(path: Path) -> None:
    """Cut off what follows the last line's end: its process was killed, or the disk was full, while it was written."""
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
