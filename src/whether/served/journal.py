"""Answers that have arrived, on disk, so that a run which is killed and started again asks only for the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whether.errors import EngineError
from whether.records import append_record, exclusive_lock, read_journal


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
    """A file that grows by one line an answer (`whether.records.journal`), of one process at a time."""

    def __init__(self, path: Path):
        self.path = path
        self.entries: dict[str, Entry] = {}
        """Answers by their key, as of the last `open`, and those added since."""

    @contextmanager
    def open(self) -> Iterator[None]:
        """Read what is there, and keep other processes from it.

        Raises EngineError if another process has it open, and RecordError for a line that is no entry.
        """
        taken = f"{self.path} is in use by another process: wait until it is done, or give each its own journal"
        with exclusive_lock(self.path.with_name(f"{self.path.name}.lock"), lambda: EngineError(taken)):
            self.entries = {entry.key: entry for entry in read_journal(self.path, Entry)}
            yield

    def add(self, entry: Entry) -> None:
        """Append an entry, within `open`. Raises RecordError for a file that cannot be written."""
        append_record(self.path, entry)
        self.entries[entry.key] = entry
