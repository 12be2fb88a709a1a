"""Rows of a .jsonl or .csv file, each read separately: one that cannot be read does not affect the others."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from whether.sources.tables import LONGEST_FIELD, json_object


class Line(NamedTuple):
    """A row, or why a line is not one."""

    number: int
    """In its file, from 1."""
    row: dict[str, Any] | None
    reason: str = ""
    text: str = ""
    """As it came, where it is not a row."""


def read_lines(path: Path) -> Iterator[Line]:
    """Yield every line that is not empty. Text is UTF-8; a row with bytes that are not is refused."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    yield from (_csv_lines if path.suffix == ".csv" else _jsonl_lines)(text)


def _jsonl_lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if "\ufffd" in line:
            yield Line(number, None, "a byte is not UTF-8; save the file as UTF-8", line)
            continue
        try:
            yield Line(number, json_object(line))
        except ValueError as error:
            yield Line(number, None, str(error), line)


def _csv_lines(text: str) -> Iterator[Line]:
    csv.field_size_limit(LONGEST_FIELD)
    lines = text.splitlines(keepends=True)
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            rest = "".join(lines[number - 1 :])
            yield Line(number, None, f"not CSV from here on: {error} (a quote that is never closed?)", rest)
            return
        raw = "".join(lines[number - 1 : reader.line_num]).rstrip("\r\n")
        if not fields:
            continue
        if header is None:
            header = fields
            if len(set(header)) < len(header):
                yield Line(number, None, "the header names a column twice", text)
                return
        elif len(fields) != len(header):
            yield Line(number, None, f"{len(fields)} fields, and the header has {len(header)}", raw)
        elif "\ufffd" in raw:
            yield Line(number, None, "a byte is not UTF-8; save the file as UTF-8", raw)
        else:
            yield Line(number, dict(zip(header, fields, strict=True)))
