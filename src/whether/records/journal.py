"""Files of JSON lines that grow by a line at a time, so that a run which is killed and started again goes on there."""

import errno
import json
import os
from pathlib import Path
from typing import Any, TypeVar

from whether.records.files import named_write_errors, read_jsonl, to_builtins

T = TypeVar("T")


def read_journal(path: Path, kind: type[T]) -> list[T]:
    """Read the records of a journal, none where there is no file; a line that was not written whole is cut off.

    Raises RecordError for a line that is no record of this type.
    """
    if not path.exists():
        return []
    with named_write_errors(path):
        # After the last line's end stands what a process wrote that was killed, or that found the disk full.
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return read_jsonl(path, kind)


def append_record(path: Path, record: Any, *, sync: bool = False) -> None:
    """Append a record in one system call: a killed process leaves the whole line or a beginning of it.

    With `sync` it is on the disk afterwards, for a machine that loses its power. Raises RecordError for a full disk.
    """
    line = json.dumps(to_builtins(record)).encode() + b"\n"
    with named_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as stream:
            if stream.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(stream.fileno())
