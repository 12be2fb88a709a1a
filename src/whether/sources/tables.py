"""Rows from .csv, .jsonl and .parquet files, one at a time, each with the number that an editor shows."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from whether.errors import DataError, near_matches

LONGEST_FIELD = 2**24
"""Characters of a CSV field; a longer one is most likely a quote that was never closed."""


class Line(NamedTuple):
    """A row, or why a line is not one."""

    number: int
    """In its file, from 1: that of its first line, since a quoted field may span several; for Parquet the row's."""
    row: dict[str, Any] | None
    reason: str = ""
    text: str = ""
    """As it came, where it is not a row."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, row) for every row of a file; for Parquet the row's number, from 1, stands in for the line.

    Text is UTF-8, with or without a byte-order mark; empty lines are skipped. Raises DataError that names file and
    line for a missing or empty file, bytes that are not UTF-8, a line that is not a JSON object, a CSV row with more
    or fewer fields than the header.
    """
    require_file(path)
    empty = True
    for line in read_lines(path):
        if line.row is None:
            raise DataError(f"{location(path, line.number)}: {line.reason}")
        empty = False
        yield line.number, line.row
    if empty:
        raise DataError(f"{path} is empty: it holds no row of examples")


def read_lines(path: Path) -> Iterator[Line]:
    """Yield every line of a file that is not empty, each read separately: one that is no row does not affect others.

    Raises DataError for a kind of file that holds no rows, and for a Parquet file that cannot be read.
    """
    readers = {".csv": _csv_lines, ".jsonl": _jsonl_lines, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise DataError(f"{path}: rows are read from {', '.join(readers)}, not from {path.suffix or 'this'}")
    return readers[path.suffix](path)


def require_file(path: Path) -> None:
    """Raise DataError, with the names of the files next to it, if there is no such file."""
    if not path.is_file():
        siblings = [entry.name for entry in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(
            f"{path} is missing: run `whether fetch`, or correct task.source.path{near_matches(path.name, siblings)}"
        )


def location(path: Path, number: int) -> str:
    """Return how a message names a row: "data/a.csv, line 3"."""
    return f"{path}, {'row' if path.suffix == '.parquet' else 'line'} {number}"


def _jsonl_lines(path: Path) -> Iterator[Line]:
    for number, (text, fault) in enumerate(_text_lines(path), 1):
        line = text.rstrip("\r\n")
        if line.strip():
            try:
                yield Line(number, None, fault, line) if fault else Line(number, _json_object(line))
            except ValueError as error:
                yield Line(number, None, str(error), line)


def _json_object(line: str) -> dict[str, Any]:
    """Return a line's JSON object. Raises ValueError that says why it is none."""
    try:
        row = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise ValueError(f"not JSON: {reason}") from None
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object with the columns was expected, and it is {line!r:.60}")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _csv_lines(path: Path) -> Iterator[Line]:
    csv.field_size_limit(LONGEST_FIELD)
    lines = _text_lines(path)
    pulled: list[tuple[str, str]] = []  # lines of the row that is being read, and what is wrong with their bytes

    def pull() -> Iterator[str]:
        for line in lines:
            pulled.append(line)
            yield line[0]

    reader = csv.reader(pull(), strict=True)
    header: list[str] | None = None
    while True:
        number, fields, reason = reader.line_num + 1, [], ""
        pulled.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = f"not CSV from here on: {error} (a quote that is never closed?)"
        is_lost = bool(reason) or header is None  # without a header, or after such an error, no further row can be read
        reason = next((fault for _, fault in pulled if fault), reason or _csv_fault(fields, header))
        if reason:
            text = "".join(text for text, _ in (*pulled, *(lines if is_lost else ())))
            yield Line(number, None, reason, text if is_lost else text.rstrip("\r\n"))
            if is_lost:
                return
        elif fields and header is None:
            header = fields
        elif fields:
            yield Line(number, dict(zip(header or (), fields, strict=True)))


def _csv_fault(fields: list[str], header: list[str] | None) -> str:
    """Return what is wrong with a row, or with the header itself."""
    if header is None:
        twice = next((name for name in fields if fields.count(name) > 1), None)
        return f"the header names the column {twice!r} twice" if twice is not None else ""
    if not fields or len(fields) == len(header):
        return ""
    return (
        f"{len(fields)} fields, and the header has {len(header)} ({', '.join(header)}); put a field that holds a comma"
        " or a line break in double quotes"
    )


def _text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line with its end, and what is wrong with its bytes, so that a bad byte is blamed on its line."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            encoding = "utf-8-sig" if number == 1 else "utf-8"
            try:
                yield line.decode(encoding), ""
            except UnicodeDecodeError as error:
                fault = f"byte {error.start + 1} is not UTF-8; save the file as UTF-8"
                yield line.decode(encoding, errors="replace"), fault


def _parquet_rows(path: Path) -> Iterator[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield Line(number, row)
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None
