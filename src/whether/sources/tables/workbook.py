"""Rows of a workbook of a spreadsheet: .xlsx, .xls, .xlsb, .ods (extra `excel`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whether.errors import MissingPackageError, near_matches
from whether.records.values import plain
from whether.sources.tables.header import Header
from whether.sources.tables.lines import Line, UnreadableError, unreadable


def read_workbook(path: Path, sheet: str | None) -> Iterator[Line]:
    """Yield every row below the header, which is the first one that is not empty, with its number in the sheet."""
    header: Header | None = None
    for number, cells in _rows(path, sheet):
        if header is None:
            header = Header(tuple("" if cell is None else str(cell) for cell in cells))
            if reason := header.fault():
                yield unreadable(reason, number)
                return
            continue
        try:
            yield Line(number, header.row(cells))
        except ValueError as error:
            yield Line(number, None, str(error), "\t".join("" if cell is None else str(cell) for cell in cells))


def _rows(path: Path, wanted: str | None) -> Iterator[tuple[int, list[Any]]]:
    """Yield (number, cells) of each row that is not empty."""
    try:
        import python_calamine as calamine
    except ModuleNotFoundError:
        raise MissingPackageError("python-calamine", "excel", f"{path} is an Excel workbook: to read it") from None
    try:
        with calamine.CalamineWorkbook.from_path(path) as book:
            sheet = book.get_sheet_by_name(_sheet(book, wanted))
            first = sheet.start[0] + 1 if sheet.start else 1
            for number, cells in enumerate(sheet.to_python(skip_empty_area=True), first):
                row = [None if cell == "" else plain(cell) for cell in cells]
                if any(cell is not None for cell in row):
                    yield number, row
    except calamine.CalamineError as error:
        raise UnreadableError(
            f"it is an Excel workbook that cannot be read: {error}; save it as .xlsx without a password, or as CSV"
        ) from None


def _sheet(book: Any, wanted: str | None) -> str:
    names: list[str] = list(book.sheet_names)
    if wanted is not None:
        if wanted not in names:
            raise UnreadableError(
                f"it has no sheet {wanted!r}, which task.source.sheet names{near_matches(wanted, names)}"
            )
        return wanted
    filled = [name for name in names if book.get_sheet_by_name(name).height]
    if len(filled) > 1:
        raise UnreadableError(f"it has several sheets ({', '.join(filled)}): name one in task.source.sheet")
    return filled[0] if filled else names[0]
