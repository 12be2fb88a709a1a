"""Reading and writing records: atomic, with one clear error that names file, line and field."""

import csv
import dataclasses
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from whether.errors import RecordError, WhetherError
from whether.records.values import SURROGATE, storable

ARTIFACTS = Path("artifacts")
DATA = Path("data")
"""Raw examples, whose version is data.dvc."""
COLLECTED = DATA / "collected"
"""Rows that arrived after the beginning, through the inbox of retraining: a file for each task."""
STATE = Path(".state")
"""Where unfinished work waits to be resumed; not an output of any stage, so DVC leaves it alone."""

T = TypeVar("T")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_builtins(record: Any) -> Any:
    """Return a record as dicts, lists and scalars."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.asdict(record)
    return record


def read_json(path: Path, kind: type[T] = dict) -> T:  # type: ignore[assignment]
    """Read one record of type `kind`. Raises RecordError naming the file and the first bad field."""
    return _parse(path, path.name, _read_bytes(path), kind)


def read_jsonl(path: Path, kind: type[T] = dict) -> list[T]:  # type: ignore[assignment]
    """Read one record of type `kind` from each line. Raises RecordError naming file, line and field."""
    lines = _read_bytes(path).splitlines()
    return [_parse(path, f"line {number}", line, kind) for number, line in enumerate(lines, 1) if line.strip()]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RecordError(f"{path} is missing: run `whether run` to make it") from None
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from None


def _parse(path: Path, where: str, text: bytes, kind: type[T]) -> T:
    try:
        return typing.cast("T", _adapter(typing.cast("Any", kind)).validate_json(text))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path}, {where}: {key + ': ' if key else ''}{first['msg']}") from None


def write_json(path: Path, record: Any) -> None:
    """Write one record, atomically, with sorted meaning kept: keys in the order of the type."""
    write_text(path, _json(path, record, indent=2) + "\n")


def write_jsonl(path: Path, records: Iterable[Any]) -> None:
    """Write one record a line, atomically."""
    write_text(path, "".join(_json(path, record) + "\n" for record in records))


def _json(path: Path, record: Any, indent: int | None = None) -> str:
    """Return a record as JSON: dates, decimals and the scalars of numpy and Arrow by their value.

    Raises RecordError for a number that JSON does not have: it would be a measurement that failed.
    """
    try:
        return json.dumps(to_builtins(record), indent=indent, ensure_ascii=False, allow_nan=False, default=storable)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} cannot be written: {error}, and JSON has no such value") from None


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows below a header of their keys, atomically; of `columns` where there are no rows. None is empty.

    A text that a spreadsheet would take for a formula begins with an apostrophe. Ends of lines within a cell are
    line feeds: before 3.13 Python's writer puts no quotes around a carriage return.
    """
    lines, text = [{key: _as_data(cell) for key, cell in row.items()} for row in rows], io.StringIO()
    writer = csv.DictWriter(text, lines[0] if lines else columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, text.getvalue())


def _as_data(cell: Any) -> Any:
    """Return a cell that no spreadsheet runs (OWASP, CSV injection); a number in text stays a number."""
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")
    if not cell.lstrip().startswith(("=", "+", "-", "@")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a full disk or a kill leaves the old content or none.

    Half of a character, which UTF-8 cannot hold, becomes U+FFFD.
    """
    with named_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text if text.isascii() else SURROGATE.sub("\ufffd", text))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` when the block ends well and vanishes when it does not."""
    with named_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            temporary.chmod(0o755)
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def exclusive_lock(path: Path, taken: Callable[[], WhetherError]) -> Iterator[None]:
    """Hold a lock, a file at `path`, against other processes of this machine; raise what `taken` returns if one has it.

    The operating system holds the lock, so a dead process has none.
    """
    from filelock import FileLock, Timeout

    with named_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(path, timeout=0).acquire()
        except Timeout:
            raise taken() from None
    with lock:
        yield


@contextmanager
def named_write_errors(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into one clear RecordError that names the place."""
    advice = {
        errno.ENOSPC: "the disk is full: free some space and run again",
        errno.EDQUOT: "the disk quota is used up: free some space and run again",
        errno.EACCES: "no permission to write there: check the folder's owner and mode",
        errno.EPERM: "no permission to write there: check the folder's owner and mode",
        errno.EROFS: "the file system is read-only",
        errno.ENOTDIR: "a file stands where a folder is needed",
        errno.EISDIR: "a folder stands where a file is needed",
    }
    try:
        yield
    except OSError as error:
        if error.errno not in advice:
            raise
        raise RecordError(f"{path} cannot be written: {advice[error.errno]}; nothing was left half-written") from error


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_folder(path: Path, pattern: str = "**/*") -> str:
    """Return a SHA-256 over the names and contents of the files under a folder that match `pattern`, in hex."""
    digest = hashlib.sha256()
    for file in sorted(entry for entry in path.glob(pattern) if entry.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()


def sha256_json(value: Mapping[str, Any] | list[Any] | str) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys), in hex."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ).hexdigest()
