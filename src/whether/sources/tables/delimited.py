"""Rows of CSV and its relatives: which separator and which line ends a file has is found from its beginning.

A record ends at a line feed (or CR LF), and in a file without any at a carriage return. Quotes within quotes are
doubled (RFC 4180); where a record cannot be read so, they have a backslash before them, or between tabs are text.
"""

import csv
import re
from collections import deque
from collections.abc import Generator, Iterator
from itertools import chain, islice

from whether.config import SourceConfig
from whether.sources.tables.content import Content
from whether.sources.tables.encodings import fault_of, open_text, shown
from whether.sources.tables.header import Header
from whether.sources.tables.lines import LONGEST, Line

SEPARATORS = ",;\t|"
SAMPLE = 200
"""Records from the beginning of a file that tell its separator."""
KEPT = 10_000
"""Characters that are shown of a file from the line on after which it cannot be read."""
_HINT = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""First line that tells a spreadsheet the separator."""
_QUOTED = re.compile(r'"(?:[^"]|"")*"?')
_STAND_INS = [chr(code) for code in range(0xE000, 0xE010)]
"""Characters for private use, one of which stands in for a carriage return within a line."""


def read_delimited(content: Content, settings: SourceConfig | None) -> Iterator[Line]:
    """Yield every record of a file; the first is the header."""
    csv.field_size_limit(LONGEST)
    hint = _HINT.fullmatch(content.head.partition("\n")[0])
    separator = (settings and settings.delimiter) or (hint and hint[1]) or _separator(content)
    newline = "\r" if _ends_at_carriage_returns(content.head) else "\n"
    with open_text(content.open_file, content.encoding, newline) as stream:
        lines = _Lines(stream, content.encoding.name, newline, separator)
        if hint:
            next(iter(lines))
        yield from _records(lines)


class _Lines:
    """The lines of a file for csv.reader: counted, kept until their record is done, and able to come again."""

    def __init__(self, stream: Iterator[str], encoding: str, newline: str, separator: str):
        self._stream, self._encoding, self._newline, self.separator = stream, encoding, newline, separator
        self._again: deque[str] = deque()
        self.number = 1
        """Of the first line of the record that is being read, as an editor shows it."""
        self.pulled: list[str] = []
        """Lines of the record that is being read."""
        self.fault = ""
        """What is wrong with the bytes of one of them."""
        self.has_returns = False
        """Whether one of them holds a carriage return that does not end it."""
        self.is_odd = False
        """Whether either may be."""

    def __iter__(self) -> Iterator[str]:
        pulled, again, encoding = self.pulled, self._again, self._encoding
        while True:
            for line in self._stream if not again else ():
                pulled.append(line)
                if not line.isascii() and (fault := fault_of(line, encoding)):
                    self.fault, self.is_odd = self.fault or fault, True
                if "\r" in line and (line.find("\r", 0, -2) >= 0 or line.endswith("\r")):
                    yield self._without_returns(line)
                else:
                    yield line
                if again:
                    break
            if not again:
                return
            pulled.append(again.popleft())
            self.fault, self.is_odd = self.fault or fault_of(pulled[-1], encoding), True
            yield self._without_returns(pulled[-1])

    def begin(self) -> int:
        """Forget the lines of the last record; return the number of the next line."""
        count = len(self.pulled)
        if self._newline == "\r":
            count += sum(line.count("\n") for line in self.pulled)
        self.number += count
        self.pulled.clear()
        if self.is_odd:
            self.fault, self.has_returns, self.is_odd = "", False, False
        return self.number

    def give_back(self, count: int) -> None:
        """Let the last `count` lines come again."""
        if count:
            self._again.extendleft(reversed(self.pulled[-count:]))
            del self.pulled[-count:]

    def rest(self) -> str:
        """Return the record's lines and what follows, as they are, up to `KEPT` characters."""
        text = ""
        for line in chain(self.pulled, self._again, self._stream):
            text += line
            if len(text) > KEPT:
                break
        return text[:KEPT]

    def restored(self, cell: str) -> str:
        """Return a cell with its carriage returns."""
        return cell.replace(_stand_in(self.pulled), "\r") if self.has_returns else cell

    def _without_returns(self, line: str) -> str:
        """Return a line that csv.reader takes as one: it ends a record at each carriage return."""
        text = line.removesuffix(self._newline)
        end = line[len(text) :]
        if self._newline == "\n" and text.endswith("\r") and end:
            text, end = text[:-1], "\r\n"
        self.has_returns, self.is_odd = self.has_returns or "\r" in text, True
        return text.replace("\r", _stand_in([line])) + ("\n" if end == "\r" else end)


def _records(lines: _Lines) -> Iterator[Line]:
    reader = csv.reader(lines, strict=True, delimiter=lines.separator)
    header = yield from _header(lines, reader)
    if header is None:
        return
    names, width = header.names, len(header.names) if header.named == len(header.names) and all(header.names) else -1
    none: list[str] = []
    while True:
        number, fields, error = lines.begin(), none, ""
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as found:
            error = str(found)
        if len(fields) == width and not lines.is_odd:
            yield Line(number, dict(zip(names, fields, strict=False)))  # as many of each
        elif fields or error:
            line = _line(lines, fields, error, header)
            yield line
            if line.ends:
                return
            reader = csv.reader(lines, strict=True, delimiter=lines.separator)  # lines may come again after their end


def _header(lines: _Lines, reader: Iterator[list[str]]) -> Generator[Line, None, Header | None]:
    """Return the header; None where there is none, with a line that says so unless the file is empty."""
    while True:
        number, fields, error = lines.begin(), list[str](), ""
        try:
            fields = next(reader)
        except StopIteration:
            return None
        except csv.Error as found:
            error = f"not CSV from here on: {found} (a quote that is never closed?)"
        header = Header(tuple(map(lines.restored, fields)))
        if reason := lines.fault or error or (header.fault() if fields else ""):
            yield Line(number, None, reason, shown(lines.rest()), ends=True)
            return None
        if fields:
            return header


def _line(lines: _Lines, fields: list[str], error: str, header: Header) -> Line:
    """Return the record that was read, or what is wrong with it."""
    number, reason, row = lines.number, error, dict[str, str]()
    if not error:
        try:
            row = header.row(fields)
        except ValueError as found:
            reason = str(found)
    quoted = bool(reason) and any('"' in line for line in lines.pulled)
    if quoted and (again := _read_again(lines, header)) is not None:
        row, error, reason = again, "", ""
    if error:
        escaped = any('\\"' in line for line in lines.pulled)
        reason = f"not CSV from here on: {error} (a quote that is never closed?)"
        reason += "; a quote within quotes is written twice, not with a backslash" if escaped else ""
        return Line(number, None, lines.fault or reason, shown(lines.rest()), ends=True)
    if lines.fault or reason:
        return Line(number, None, lines.fault or reason, shown("".join(lines.pulled).rstrip("\r\n")))
    return Line(number, {name: lines.restored(cell) for name, cell in row.items()})


def _read_again(lines: _Lines, header: Header) -> dict[str, str] | None:
    """Return a record as the tools write it that do not double quotes, None where it is none.

    Lines that were taken for a part of it, and are not, come again.
    """
    taken = len(lines.pulled)
    for read in (_with_backslashes, _without_quotes):
        lines.give_back(len(lines.pulled))
        lines.fault = ""
        try:
            return header.row(read(lines))
        except (csv.Error, ValueError, StopIteration):
            continue
    lines.give_back(len(lines.pulled))
    for _ in zip(range(taken), lines, strict=False):
        pass  # as it was
    return None


def _with_backslashes(lines: _Lines) -> list[str]:
    """Return the fields of a record in which a backslash before a quote means a quote."""
    return next(csv.reader((line.replace('\\"', '""') for line in lines), strict=True, delimiter=lines.separator))


def _without_quotes(lines: _Lines) -> list[str]:
    """Return the fields of a line between tabs, where quotes may be a part of the text. Raises ValueError."""
    if lines.separator != "\t":
        raise ValueError("a comma or a semicolon may be a part of the text, too")
    return next(iter(lines)).rstrip("\r\n").split("\t")


def _stand_in(lines: list[str]) -> str:
    return next((one for one in _STAND_INS if not any(one in line for line in lines)), "\ufffd")


def _ends_at_carriage_returns(head: str) -> bool:
    """Return whether records end at a carriage return alone: no line feed stands outside of quotes."""
    if "\r" not in head:
        return False
    bare = _QUOTED.sub("", head)
    return "\r" in bare and "\n" not in bare


def _separator(content: Content) -> str:
    """Return the separator by which most of the first records have as many fields as the header, and more than one."""
    best, found = (0.0, 0), ","
    for separator in SEPARATORS:
        counts = _fields(content, separator)
        if counts and counts[0] > 1:
            alike = sum(count == counts[0] for count in counts) / len(counts)
            if (alike, counts[0]) > best:
                best, found = (alike, counts[0]), separator
    return found


def _fields(content: Content, separator: str) -> list[int]:
    """Return how many fields each of the first records has; the last one may be cut off, and is left out."""
    text = content.head.replace('\\"', '""')
    lines = text.splitlines(keepends=True) if "\n" not in text else [f"{line}\n" for line in text.split("\n")]
    lines = [line.replace("\r", "") for line in lines]
    records = csv.reader(lines, delimiter=separator)
    try:
        counts = [len(fields) for fields in islice(records, SAMPLE) if fields]
    except csv.Error:
        return []
    return counts if content.is_whole or len(counts) < 2 else counts[:-1]
