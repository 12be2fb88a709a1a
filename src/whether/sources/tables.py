"""Rows from .csv, .jsonl and .parquet files, one at a time, each with the number that an editor shows."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from whether.errors import DataError, near_matches

LONGEST_FIELD = 2**24
"""Characters of a CSV field; a longer one is most likely a quote that was never closed."""


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, row) for every row of a file; for Parquet the row's number, from 1, stands in for the line.

    Text is UTF-8, with or without a byte-order mark; empty lines are skipped. Raises DataError that names file and
    line for a missing or empty file, bytes that are not UTF-8, a line that is not a JSON object, a CSV row with more
    or fewer fields than the header.
    """
    require_file(path)
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise DataError(f"{path}: rows are read from {', '.join(readers)}, not from {path.suffix or 'this'}")
    empty = True
    for number, row in readers[path.suffix](path):
        empty = False
        yield number, row
    if empty:
        raise DataError(f"{path} is empty: it holds no row of examples")


def require_file(path: Path) -> None:
    """Raise DataError, with the names of the files beside it, if there is no such file."""
    if not path.is_file():
        siblings = [entry.name for entry in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(
            f"{path} is missing: run `whether fetch`, or correct task.source.path{near_matches(path.name, siblings)}"
        )


def location(path: Path, number: int) -> str:
    """Return how a message names a row: "data/a.csv, line 3"."""
    return f"{path}, {'row' if path.suffix == '.parquet' else 'line'} {number}"


def _jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _text_lines(path):
        if not line.strip():
            continue
        try:
            yield number, json_object(line)
        except ValueError as error:
            raise DataError(f"{location(path, number)}: {error}") from None


def json_object(line: str) -> dict[str, Any]:
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


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader((line for _, line in _text_lines(path)), strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1  # of the row's first line: a quoted field may span several
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{location(path, number)}: not CSV: {error} (a quote that is never closed?)") from None
        if not fields:
            continue
        if header is None:
            header = fields
            twice = next((name for name in header if header.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"{location(path, number)}: the header names the column {twice!r} twice")
            continue
        if len(fields) != len(header):
            raise DataError(
                f"{location(path, number)}: {len(fields)} fields, and the header has {len(header)}"
                f" ({', '.join(header)}); put a field that holds a comma or a line break in double quotes"
            )
        yield number, dict(zip(header, fields, strict=True))


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, line with its end); decoded line by line, so that a bad byte is blamed on its line."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{location(path, number)}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
                ) from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None
