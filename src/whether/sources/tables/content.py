"""What a file is, by its content: its name only decides where its content could be two things."""

import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

from whether.config import SourceConfig
from whether.sources.tables.encodings import Encoding, Opener, decode_head, find_encoding, guess_wide
from whether.sources.tables.lines import UnreadableError

READ = (
    "rows are read from CSV (separated by commas, semicolons, tabs or |), JSON (an object a line, or an array),"
    " Parquet and Excel; text also packed by gzip, bzip2 or xz"
)
HEAD = 2**16
"""Bytes from the beginning of a file that tell its kind."""
Form = Literal["delimited", "json_lines", "json_values", "parquet", "workbook"]
NUMBERED_BY_ROW: frozenset[Form] = frozenset(["parquet", "workbook"])

_CONTROLS = bytes({*range(32)} - {*b"\t\n\v\f\r\x1b"})
_STRAY = 64
"""So many bytes that no text has may stand in one all the same."""
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What a packed file raises that is damaged or cut off."""
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OTHERS = {
    b"%PDF": "a PDF document",
    b"SQLite format 3\x00": "an SQLite database: export the table as CSV",
    b"ARROW1": "an Arrow or Feather file: write it as Parquet",
    b"Obj\x01": "an Avro file: write it as Parquet",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"\x93NUMPY": "a NumPy array: write it as Parquet or CSV",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x80\x03": "a Python pickle: write it as Parquet",
    b"\x80\x04": "a Python pickle: write it as Parquet",
    b"\x80\x05": "a Python pickle: write it as Parquet",
    b"{\\rtf": "a text document (RTF)",
}
_BINARY_NAMES = {
    ".parquet": "Parquet file", ".xlsx": "workbook", ".xls": "workbook", ".xlsb": "workbook", ".ods": "workbook",
}  # fmt: skip
_MARKUP = (
    (r"(?i)\s*(<!doctype html|<html|<head|<body)", "an HTML page, such as a log-in page that was saved in its place"),
    (r"\s*<\?xml|\s*<[a-zA-Z]+[ >]", "an XML file"),
    (r"version https://git-lfs", "a pointer of Git LFS and not the file itself: run `git lfs pull`"),
)

NAMES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".xls", ".xlsb", ".ods")
PACKED_NAMES = (".gz", ".bz2", ".xz")


def is_named_as_rows(path: Path) -> bool:
    """Return whether a file has the name of one that holds rows, in upper or lower case."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in PACKED_NAMES), "") in NAMES


class Content(NamedTuple):
    """What a file is and how to read it."""

    form: Form
    open_file: Opener
    encoding: Encoding = Encoding("utf-8")
    head: str = ""
    """The beginning of its text."""
    is_whole: bool = False
    """Whether `head` is all of it."""


def examine(path: Path, settings: SourceConfig | None = None) -> Content:
    """Return what a file is. Raises UnreadableError that says what it looks like where it holds no rows."""
    if path.is_dir():
        return Content("parquet", partial(_plain, path))
    with path.open("rb") as stream:
        start = stream.read(HEAD)
    if binary := _binary_form(path, start):
        return Content(binary, partial(_plain, path))
    open_file = next((partial(_unpacked, path, how) for mark, how in _PACKED.items() if start.startswith(mark)), None)
    if open_file:
        with open_file() as stream:
            start = stream.read(HEAD)
        if _binary_form(path, start, packed=True):
            raise UnreadableError(f"it is packed, and what is in it is not text: unpack it; {READ}")
    if path.suffix.lower() in _BINARY_NAMES and start:
        raise UnreadableError(f"not a {_BINARY_NAMES[path.suffix.lower()]} that can be read: it does not begin as one")
    source = open_file or partial(_plain, path)
    return _text_content(path, start, settings, source)


def _text_content(path: Path, start: bytes, settings: SourceConfig | None, open_file: Opener) -> Content:
    encoding = find_encoding(start, settings.encoding if settings else None, open_file)
    if encoding == Encoding("utf-8"):
        if wide := guess_wide(start):
            raise UnreadableError(
                f"it looks like UTF-16 without a byte-order mark: save it as UTF-8, or set task.source.encoding: {wide}"
            )
        if len(start.translate(None, _CONTROLS)) < 0.9 * len(start) - _STRAY:
            raise UnreadableError(f"it is not text, and no other kind of file that holds rows; {READ}")
    head, is_whole = decode_head(start, encoding), len(start) < HEAD
    for pattern, what in _MARKUP:
        if re.match(pattern, head):
            raise UnreadableError(f"it is {what}; {READ}")
    return Content(_text_form(path, head, is_whole=is_whole), open_file, encoding, head, is_whole)


def _binary_form(path: Path, start: bytes, *, packed: bool = False) -> Form | None:
    """Return the form of a file that is not text. Raises UnreadableError for one that holds no rows."""
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(_OLD_OFFICE):
        return "workbook"
    if start.startswith(b"PK\x03\x04"):
        if packed or _is_workbook(path):
            return "workbook"
        raise UnreadableError(f"it is a ZIP archive: unpack it; {READ}")
    if start[257:262] == b"ustar":
        raise UnreadableError(f"it is a tar archive: unpack it; {READ}")
    if what := next((what for mark, what in _OTHERS.items() if start.startswith(mark)), None):
        raise UnreadableError(f"it is {what}; {READ}")
    return None


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(re.fullmatch(r"xl/workbook\.(xml|bin)|content\.xml", name) for name in archive.namelist())
    except zipfile.BadZipFile:
        raise UnreadableError("it begins as a ZIP archive or an Excel workbook, and is damaged or cut off") from None


def _text_form(path: Path, head: str, *, is_whole: bool) -> Form:
    suffixes = {suffix.lower() for suffix in path.suffixes}
    named = not suffixes.isdisjoint([".json", ".jsonl", ".ndjson"])
    text = head.lstrip()
    if text.startswith("{") and (named or re.match(r'\{\s*["}]', text)):
        return _form_of_objects(text, is_whole=is_whole)
    if text.startswith("[") and (named or re.match(r"\[\s*[\[{\]]", text)):
        first, _, rest = text.partition("\n")
        # Lists, one a line, are lines that are no objects; one list is an array, on one line or many.
        return "json_lines" if rest.strip() and _is_json(first) else "json_values"
    return "json_lines" if named and not _looks_delimited(text) else "delimited"


def _form_of_objects(text: str, *, is_whole: bool) -> Form:
    """Return whether objects stand on a line each, or over several lines or several on a line."""
    first, _, rest = text.partition("\n")
    if _is_json(first):
        return "json_lines"
    end = _end_of_value(text)
    if end is None:
        unfinished = not is_whole and (not rest or first.rstrip().endswith(("{", "[", ",")))
        return "json_values" if unfinished else "json_lines"
    others = text[end:].lstrip(", \t\r\n")
    again = others.startswith("{") and _end_of_value(others) is not None
    return "json_values" if end > len(first) or again else "json_lines"


def _end_of_value(text: str) -> int | None:
    """Return where the JSON value ends with which a text begins, None where it does not end."""
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return None


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _looks_delimited(text: str) -> bool:
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if any(line.lstrip().startswith(("{", "[")) for line in lines):
        return False
    return len(lines) > 1 and any(all(mark in line for line in lines) for mark in ",;\t|")


def _plain(path: Path) -> BinaryIO:
    return path.open("rb")


def _unpacked(path: Path, how: object) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(how(path, "rb")))  # type: ignore[operator]
