"""Workbooks of spreadsheets: the extra `excel`."""

import sys
from pathlib import Path

import pytest
from workbooks import write_workbook

from whether.config import SourceConfig
from whether.errors import DataError, MissingPackageError
from whether.sources.tables import Line, read_lines, read_rows

ROWS = [["text", "label", None], ["one", 1], [], ["two", 2.5, None], [None, None], ["", True]]


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    book = write_workbook(tmp_path / "a.csv", {"s": ROWS})
    with pytest.raises(MissingPackageError, match=r"a\.csv is an Excel workbook: to read it .*'whether\[excel\]'"):
        list(read_lines(book))


def test_rows_have_the_numbers_of_the_sheet_and_numbers_their_value(tmp_path: Path) -> None:
    for name in ("a.xlsx", "a.XLSX", "a.csv"):
        assert list(read_rows(write_workbook(tmp_path / name, {"s": ROWS}))) == [
            (2, {"text": "one", "label": 1}),
            (4, {"text": "two", "label": 2.5}),
            (6, {"text": None, "label": True}),
        ]


def test_a_sheet_is_named_where_there_are_several(tmp_path: Path) -> None:
    book = write_workbook(tmp_path / "a.xlsx", {"old": [["text"], ["x"]], "new": [["text"], ["y"]], "empty": []})
    with pytest.raises(DataError, match=r"several sheets \(old, new\): name one in task\.source\.sheet"):
        list(read_rows(book))
    assert list(read_rows(book, SourceConfig(path="a.xlsx", sheet="new"))) == [(2, {"text": "y"})]
    with pytest.raises(DataError, match=r"no sheet 'nwe'.*did you mean 'new'"):
        list(read_rows(book, SourceConfig(path="a.xlsx", sheet="nwe")))
    book = write_workbook(tmp_path / "b.xlsx", {"empty": [], "new": [["text"], ["y"]]})
    assert list(read_rows(book)) == [(2, {"text": "y"})]


def test_a_value_behind_the_last_column_is_the_rows_error(tmp_path: Path) -> None:
    book = write_workbook(tmp_path / "a.xlsx", {"s": [["text", "label"], ["x", "y", "z"], ["v", "w"]]})
    lines = list(read_lines(book))
    assert [(line.number, line.row) for line in lines] == [(2, None), (3, {"text": "v", "label": "w"})]
    assert lines[0].text == "x\ty\tz"


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut off", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 with a password"])
def test_what_cannot_be_read_is_one_line_that_ends_the_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.xlsx"
    file.write_bytes(content)
    (line,) = read_lines(file)
    assert line == Line(1, None, line.reason, ends=True)
    assert "workbook" in line.reason
