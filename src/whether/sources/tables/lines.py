"""What every format is read as: a line that is a row, or why it is not one."""

from typing import Any, NamedTuple

LONGEST = 2**24
"""Characters of a CSV field or of a JSON value; a longer one is most likely a quote that was never closed."""


class Line(NamedTuple):
    """A row, or why a line is not one."""

    number: int
    """In its file, from 1: that of its first line, since a row may span several; in Parquet and Excel the row's."""
    row: dict[str, Any] | None
    """Column → cell, in the types of JSON (`whether.records.values.plain`)."""
    reason: str = ""
    text: str = ""
    """As it came, where it is not a row."""
    ends: bool = False
    """Whether nothing after it can be read: the file itself is not what it should be."""


class UnreadableError(ValueError):
    """Why a file holds no rows that can be read: what it looks like, and what to do."""


def unreadable(reason: str, number: int = 1, text: str = "") -> Line:
    """Return the line at which a file ends to be readable."""
    return Line(number, None, reason, text, ends=True)
