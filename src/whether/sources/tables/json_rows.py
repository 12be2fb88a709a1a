"""Rows of JSON: an object a line, an array of objects, or objects one after the other."""

import json
import re
from collections.abc import Iterator
from io import TextIOBase
from typing import Any

from whether.records.values import whole
from whether.sources.tables.chats import is_chat
from whether.sources.tables.content import Content
from whether.sources.tables.encodings import fault_of, open_text, shown
from whether.sources.tables.lines import LONGEST, Line, unreadable

DEEPEST = 64
"""Lists and objects within each other; what reads and writes records goes to 200."""
_CHUNK = 2**20
_BETWEEN = re.compile(r"[\s,]*")


class _TwiceError(ValueError):
    """A key stands twice in an object."""


def _number(text: str) -> Any:
    return whole(float(text))


def _constant(name: str) -> float | None:
    return None if name == "NaN" else float(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in an object")
    return found


_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=_constant, object_pairs_hook=_object)


def read_json_lines(content: Content) -> Iterator[Line]:
    """Yield every line that is not empty; one that is no object does not affect the others."""
    encoding = content.encoding.name
    with open_text(content.open_file, content.encoding) as stream:
        first: Line | None = None
        count = 0
        for number, text in enumerate(stream, 1):
            if text.isspace():
                continue
            line = _json_line(number, text.rstrip("\r\n"), encoding)
            count += 1
            if count == 1 and content.is_whole:
                first = line  # whether it is all of the file decides what it is
                continue
            if first is not None:
                yield first
                first = None
            yield line
        if first is not None:
            yield _alone(first)


def _json_line(number: int, text: str, encoding: str) -> Line:
    if fault := fault_of(text, encoding):
        return Line(number, None, fault, shown(text))
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return Line(number, None, _reason(error), text)
    return _row(number, value, text)


def _row(number: int, value: Any, text: str) -> Line:
    if not isinstance(value, dict):
        return Line(number, None, f"a JSON object with the columns was expected, and it is {text!r:.60}", text)
    if text.count("{") + text.count("[") > DEEPEST and _depth(value) > DEEPEST:
        return Line(number, None, f"its lists and objects are nested deeper than {DEEPEST}", text)
    return Line(number, value)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"its lists and objects are nested deeper than {DEEPEST}"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at column {error.colno}"
    return str(error) if isinstance(error, _TwiceError) else f"not JSON: {error}"


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            item
            for one in level
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, (dict, list))
        ]
    return depth


def read_json_values(content: Content) -> Iterator[Line]:
    """Yield every object of an array, or of objects one after the other; a broken one ends the file."""
    with open_text(content.open_file, content.encoding) as stream:
        found = _Values(stream, content.encoding.name).read()
        first = next(found, None)
        second = next(found, None)
        if first is not None:
            yield _alone(first) if second is None and content.head.lstrip().startswith("{") else first
        if second is not None:
            yield second
            yield from found


def _alone(line: Line) -> Line:
    """Return the only object of a file, unless it can only hold the rows instead of being one."""
    cells = line.row or {}
    if any(not isinstance(cell, (dict, list)) or len(cell) < 2 or is_chat(cell) for cell in cells.values()):
        return line
    if len(cells) > 1:
        return unreadable(
            f"it is one JSON object that holds columns ({', '.join(cells)}): write one object for each row (pandas:"
            " orient='records', lines=True)"
        )
    for key, cell in cells.items():
        if isinstance(cell, list) and all(isinstance(one, dict) for one in cell):
            return unreadable(
                f"it is one JSON object, whose {key!r} holds a list of {len(cell)} objects: write this list alone"
            )
    return line


class _Values:
    """JSON values one after the other in a text that is read in parts."""

    def __init__(self, stream: TextIOBase, encoding: str):
        self._stream, self._encoding = stream, encoding
        self._text, self._at, self._number, self._is_all = "", 0, 1, False

    def read(self) -> Iterator[Line]:
        in_array = self._next() == "["
        self._at += in_array
        while (character := self._next()) and not (in_array and character == "]"):
            line, end = self._value()
            if line.row is None and line.ends:
                yield line
                return
            yield line
            self._number += self._text.count("\n", self._at, end)
            self._at = end
        if in_array and not character:
            yield unreadable("the array is never closed: is the file cut off?", self._number)
        elif in_array:
            self._at += 1
            if self._next():
                yield unreadable("text stands behind the end of the array", self._number, self._text[self._at :][:200])

    def _next(self) -> str:
        """Go to the next value; return its first character, empty at the end."""
        while True:
            found = _BETWEEN.match(self._text, self._at)
            end = found.end() if found else self._at
            self._number += self._text.count("\n", self._at, end)
            self._at = end
            if end < len(self._text):
                return self._text[end]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on; return whether there was something."""
        left = self._text[self._at :]
        part = "" if self._is_all else self._stream.read(max(_CHUNK, len(left)))
        self._is_all = not part
        self._text, self._at = left + part, 0
        return bool(part)

    def _value(self) -> tuple[Line, int]:
        """Return the value at the present place, and where it ends."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except _TwiceError as error:
                _, end = json.JSONDecoder().raw_decode(self._text, self._at)
                return Line(self._number, None, str(error), self._text[self._at : end]), end
            except RecursionError as error:
                return unreadable(_reason(error), self._number), len(self._text)
            except ValueError as error:
                if len(self._text) - self._at > LONGEST or self._is_all:
                    return self._broken(error), len(self._text)
                self._more()
                continue
            if end == len(self._text) and not isinstance(value, dict) and self._more():
                continue  # a number may go on
            text = self._text[self._at : end]
            if fault := fault_of(text, self._encoding):
                return Line(self._number, None, fault, shown(text)), end
            return _row(self._number, value, text), end

    def _broken(self, error: ValueError) -> Line:
        place = error.pos if isinstance(error, json.JSONDecodeError) else self._at
        number = self._number + self._text.count("\n", self._at, place)
        message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        reason = f"not JSON from here on: {message} (objects over several lines, or an array, end at the first fault)"
        return unreadable(reason, number, shown(self._text[self._at :]))
