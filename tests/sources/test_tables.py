import json
from pathlib import Path

import pytest

from whether.errors import DataError
from whether.sources.tables import Line, read_lines, read_rows


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_numbers_are_those_of_the_line_on_which_a_row_starts(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", 'text,label\none,a\n"two\nlines",b\n\n"with ""quotes"", and comma",a\n')
    assert list(read_rows(file)) == [
        (2, {"text": "one", "label": "a"}),
        (3, {"text": "two\nlines", "label": "b"}),
        (6, {"text": 'with "quotes", and comma', "label": "a"}),
    ]


def test_jsonl_keeps_types_and_splits_at_line_feeds_only(tmp_path: Path) -> None:
    rows = [{"a": "x\u2028y", "n": 1}, {"a": None, "n": [1, 2]}]
    text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert list(read_rows(write(tmp_path / "a.jsonl", text))) == [(1, rows[0]), (3, rows[1])]


def test_parquet_rows_are_numbered(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": ["x", "y"], "n": [1, None]}), tmp_path / "a.parquet")
    assert list(read_rows(tmp_path / "a.parquet")) == [(1, {"a": "x", "n": 1}), (2, {"a": "y", "n": None})]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str) -> None:
    content = "text\nx\n" if name == "a.csv" else '{"text": "x"}\n'
    assert [row for _, row in read_rows(write(tmp_path / name, b"\xef\xbb\xbf" + content.encode()))] == [{"text": "x"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', r"a\.jsonl, line 2: not JSON: Expecting value"),
        ("a.jsonl", '{"a": 1}\n[1, 2]\n', r"line 2: a JSON object with the columns was expected"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', r"line 2: byte 8 is not UTF-8"),
        ("a.jsonl", "", r"a\.jsonl is empty"),
        ("a.jsonl", "\n \n", r"a\.jsonl is empty"),
        ("a.csv", "", r"a\.csv is empty"),
        ("a.csv", "a,b\n", r"a\.csv is empty"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", r"line 3: 3 fields, and the header has 2 \(a, b\)"),
        ("a.csv", "a,b\n1\n", r"line 2: 1 fields"),
        ("a.csv", 'a,b\n1,2\n"1,2\n3,4\n', r"line 3: not CSV from here on: .*quote that is never closed"),
        ("a.csv", "a,a\n1,2\n", r"line 1: the header names the column 'a' twice"),
        ("a.csv", b"a,b\n1,2\n1,caf\xe9\n", r"line 3: byte 6 is not UTF-8"),
        (
            "a.csv",
            "a,b\n1,2\n".encode("utf-16-le"),
            r"line 1: it looks like UTF-16 .*task\.source\.encoding: utf-16-le",
        ),
        ("a.csv", "a,b\n1,2\n".encode("utf-16-be"), r"line 1: it looks like UTF-16 .*utf-16-be"),
        ("a.parquet", "not parquet", r"a\.parquet, line 1: not a Parquet file"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_rows(write(tmp_path / name, content)))


def test_a_missing_file_is_named_with_its_near_matches(tmp_path: Path) -> None:
    write(tmp_path / "tickets.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"ticket\.csv is missing: .*did you mean 'tickets\.csv'"):
        list(read_rows(tmp_path / "ticket.csv"))
    with pytest.raises(DataError, match="is missing"):
        list(read_rows(tmp_path / "nowhere" / "a.csv"))


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "a.jsonl", '{"a": 1}\nbroken\n'))
    assert next(rows) == (1, {"a": 1})


def test_a_line_that_is_no_row_does_not_affect_the_others(tmp_path: Path) -> None:
    csv = write(tmp_path / "a.csv", b'a,b\n1,\xe9\n"x\ny",\xef\xbf\xbd\n1\n2,3\n4,"5\n6,7\n')
    advice = "put a field that holds a comma or a line break in double quotes"
    assert list(read_lines(csv)) == [
        Line(
            2,
            None,
            "byte 3 is not UTF-8; save the file as UTF-8, or name its encoding in task.source.encoding",
            "1,\ufffd",
        ),
        Line(3, {"a": "x\ny", "b": "\ufffd"}),
        Line(
            5,
            None,
            f"1 fields, and the header has 2 (a, b); {advice}",
            "1",
        ),
        Line(6, {"a": "2", "b": "3"}),
        Line(
            7,
            None,
            "not CSV from here on: unexpected end of data (a quote that is never closed?)",
            '4,"5\n6,7\n',
            ends=True,
        ),
    ]
    jsonl = write(tmp_path / "a.jsonl", b'{"a": "\xff"}\n\n{"a": 1}\n[]\n')
    assert [(line.number, line.row) for line in read_lines(jsonl)] == [(1, None), (3, {"a": 1}), (4, None)]
    header = write(tmp_path / "b.csv", "a,a\n1,2\n3,4\n")
    assert list(read_lines(header)) == [
        Line(1, None, "the header names the column 'a' twice", "a,a\n1,2\n3,4\n", ends=True)
    ]
