"""Rows from the files that people have, one at a time, each with the number that an editor shows.

One reader for the task's own file, the inbox and every other file of rows. What a file is, its content says (content);
its text is in an encoding (encodings) and holds records (delimited, json_rows, parquet, workbook); each record is a
Line whose cells are in the types of JSON, and `cell_text` makes text of a cell.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whether.config import SourceConfig
from whether.errors import DataError, near_matches
from whether.sources.tables.cells import cell_text, require_text
from whether.sources.tables.content import DAMAGE, NAMES, NUMBERED_BY_ROW, PACKED_NAMES, examine, is_named_as_rows
from whether.sources.tables.delimited import read_delimited
from whether.sources.tables.json_rows import read_json_lines, read_json_values
from whether.sources.tables.lines import Line, UnreadableError, unreadable
from whether.sources.tables.parquet import read_parquet
from whether.sources.tables.workbook import read_workbook

__all__ = [
    "NAMES",
    "PACKED_NAMES",
    "Line",
    "cell_text",
    "is_named_as_rows",
    "location",
    "read_lines",
    "read_rows",
    "require_file",
    "require_text",
]


def read_rows(path: Path, settings: SourceConfig | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, row) for every row of a file; in Parquet and Excel the number is the row's.

    `settings` has the encoding, the separator and the sheet where a file does not say them. Empty lines are skipped.
    Raises DataError that names file and line for a missing or empty file, a kind of file that holds no rows, and a line
    that is not a row.
    """
    require_file(path)
    empty = True
    for line in read_lines(path, settings):
        if line.row is None:
            raise DataError(f"{location(path, line.number)}: {line.reason}")
        empty = False
        yield line.number, line.row
    if empty:
        raise DataError(f"{path} is empty: it holds no row of examples")


def read_lines(path: Path, settings: SourceConfig | None = None) -> Iterator[Line]:
    """Yield every line of a file that is not empty, each read separately: one that is no row does not affect others.

    A file that holds no rows, or not to its end, ends with a line that says why (`Line.ends`). Raises
    MissingPackageError for a workbook where the extra `excel` is not installed.
    """
    try:
        yield from _lines(path, settings)
    except UnreadableError as error:
        yield unreadable(str(error))
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        yield unreadable(f"what is packed in it is damaged or cut off: {error}")


def _lines(path: Path, settings: SourceConfig | None) -> Iterator[Line]:
    content = examine(path, settings)
    if content.form == "parquet":
        return read_parquet(path)
    if content.form == "workbook":
        return read_workbook(path, settings.sheet if settings else None)
    if content.form == "json_lines":
        return read_json_lines(content)
    return read_json_values(content) if content.form == "json_values" else read_delimited(content, settings)


def require_file(path: Path) -> None:
    """Raise DataError, with the names of the files next to it, if there is neither such a file nor such a folder."""
    if not path.exists():
        siblings = [entry.name for entry in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(
            f"{path} is missing: run `whether fetch`, or correct task.source.path{near_matches(path.name, siblings)}"
        )


def location(path: Path, number: int) -> str:
    """Return how a message names a row: "data/a.csv, line 3"."""
    try:
        unit = "row" if examine(path).form in NUMBERED_BY_ROW else "line"
    except (UnreadableError, *DAMAGE):
        unit = "line"
    return f"{path}, {unit} {number}"
