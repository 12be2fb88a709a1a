"""What a file is, by its content: everything that people have means the same rows, or one clear reason."""

import bz2
import gzip
import json
import lzma
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whether.config import SourceConfig
from whether.errors import DataError, MissingPackageError
from whether.sources.tables import Line, is_named_as_rows, location, read_lines, read_rows

ROWS = [{"text": "Straße, 5", "label": "a"}, {"text": 'say "x"', "label": "b"}, {"text": "two\nlines", "label": "a"}]
CSV = 'text,label\n"Straße, 5",a\n"say ""x""",b\n"two\nlines",a\n'
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path, **settings: str) -> list[dict[str, object]]:
    return [row for _, row in read_rows(path, SourceConfig(path=str(path), **settings))]


def fault(path: Path) -> str:
    """Return why a file ends to be readable at its first line."""
    (line,) = read_lines(path)
    assert line.row is None
    assert line.ends
    return line.reason


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", CSV),
        ("A.CSV", CSV),
        ("a.tsv", CSV.replace('"Straße, 5",', "Straße, 5\t").replace('",', '"\t').replace("text,", "text\t")),
        ("a.csv", CSV.replace("text,label", "text;label").replace('",', '";')),
        ("a.csv", CSV.replace("text,label", "text|label").replace('",', '"|')),
        ("a.csv", "sep=;\n" + CSV.replace("text,label", "text;label").replace('",', '";')),
        ("a.csv", CSV.replace("text,label", ",text,label").replace('\n"', '\n1,"').replace('\n1,"two', '\n1,"two')),
        ("a.csv", CSV.replace("label\n", "label,,\n").replace(",a\n", ",a,,\n").replace(",b\n", ",b,,\n")),
        ("a.csv", CSV.replace('""x""', '\\"x\\"')),
        ("a.csv", CSV.replace("two\nlines", "two\0lines").replace("\n", "\r").replace("\0", "\n")),
        ("a.jsonl", LINES),
        ("a.ndjson", LINES),
        ("a.csv", LINES),
        ("a.jsonl", LINES.replace("\n", "\r")),
        ("a.jsonl", LINES.replace("\n", "")),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=1)),
        ("a.jsonl", json.dumps(ROWS, indent=4)),
        ("a.jsonl", "[\n" + LINES.strip().replace("}\n", "},\n") + "\n]"),
        ("a.jsonl", "\n".join(json.dumps(row, indent=2) for row in ROWS)),
        ("a.json", ",\n".join(json.dumps(row, indent=2) for row in ROWS)),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_same_rows(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    assert rows(write(tmp_path / name, text.encode(encoding))) == ROWS
    for pack, suffix in ((gzip.compress, ".gz"), (bz2.compress, ".bz2"), (lzma.compress, "")):
        assert rows(write(tmp_path / f"{name}{suffix}", pack(text.encode(encoding)))) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends(tmp_path: Path, end: str) -> None:
    file = write(tmp_path / "a.csv", f"text,label{end}one\u2028two\x85three\x0cfour\x1c,a{end}{end}lone\rreturn,b{end}")
    assert list(read_rows(file)) == [
        (2, {"text": "one\u2028two\x85three\x0cfour\x1c", "label": "a"}),
        (4, {"text": "lone\rreturn", "label": "b"}),
    ]


def test_in_a_file_of_carriage_returns_lines_count_as_in_an_editor(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", 'text,label\r"two\nlines",a\rb\rc,d')
    assert [line.number for line in read_lines(file)] == [2, 4, 5]
    assert [line.row is None for line in read_lines(file)] == [False, True, False]


def test_the_setting_says_the_encoding_where_the_file_does_not(tmp_path: Path) -> None:
    text = "text,label\nCafé,a\n"
    assert rows(write(tmp_path / "a.csv", text.encode("cp1252")), encoding="cp1252") == [{"text": "Café", "label": "a"}]
    # A file that is UTF-8 stays so, as the other files of the same inbox may be.
    assert rows(write(tmp_path / "a.csv", text), encoding="cp1252") == [{"text": "Café", "label": "a"}]
    assert rows(write(tmp_path / "a.csv", text.encode("utf-16")), encoding="cp1252")[0]["text"] == "Café"
    assert rows(write(tmp_path / "a.csv", text.encode("utf-16-be")), encoding="utf-16-be")[0]["text"] == "Café"
    japanese = write(tmp_path / "a.csv", "text,label\n日本,a\n".encode("iso2022_jp"))  # ASCII bytes only
    assert rows(japanese, encoding="iso2022_jp")[0]["text"] == "日本"
    (line,) = read_lines(
        write(tmp_path / "b.csv", b"text,label\nCaf\x81,a\n"), SourceConfig(path="b", encoding="cp1252")
    )
    assert line.reason.startswith("byte 4 is not CP1252")


def test_each_byte_that_is_not_text_is_its_own_rows_error(tmp_path: Path) -> None:
    array = b'[{"text": "a\xff"},\n {"text": "\xef\xbf\xbd"}]'
    assert [(line.number, line.row) for line in read_lines(write(tmp_path / "a.json", array))] == [
        (1, None),
        (2, {"text": "\ufffd"}),
    ]
    wide = "text,label\na,b\n".encode("utf-16-le") + b"\x00\xd8,\0c\0\n\0" + "d,e\n".encode("utf-16-le")
    lines = list(read_lines(write(tmp_path / "a.csv", b"\xff\xfe" + wide)))
    assert [(line.number, line.row is None) for line in lines] == [(2, False), (3, True), (4, False)]
    assert "UTF-16" in lines[1].reason


def test_the_separator_is_the_one_that_fits_the_rows(tmp_path: Path) -> None:
    texts = ["a;b;c", "d;e", "f|g\th"]
    content = "text, raw,label\n" + "".join(f"{text},x,y\n" for text in texts)
    assert [row["text"] for row in rows(write(tmp_path / "a.csv", content))] == texts
    content = "label;price;text\n" + "".join(f"x;1,5;{text}, and, so on\n" for text in "abc")
    assert rows(write(tmp_path / "a.csv", content))[0] == {"label": "x", "price": "1,5", "text": "a, and, so on"}
    assert rows(write(tmp_path / "a.csv", "a:b\n1:2\n"), delimiter=":") == [{"a": "1", "b": "2"}]
    assert rows(write(tmp_path / "a.csv", "text\nx\ny\n")) == [{"text": "x"}, {"text": "y"}]


def test_columns_without_a_name(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.csv", ",text,,label\n1,x,,a\n")) == [{"text": "x", "label": "a"}]
    (line,) = read_lines(write(tmp_path / "a.csv", "text,label,,\nhello, you,a,\n"))
    assert "behind the last column that has a name" in line.reason  # an unquoted comma has moved the cells
    assert rows(write(tmp_path / "a.csv", "text,label,,\nx,a\n")) == [{"text": "x", "label": "a"}]
    assert "names no column" in fault(write(tmp_path / "a.csv", ",,\nx,a,\n"))


def test_backslashes_mean_themselves_where_the_record_can_be_read(tmp_path: Path) -> None:
    content = 'text,label\n"C:\\dir\\",a\nC:\\new,b\n"He said \\"no\\", twice",a\n"a \\"b\nc\\" d",b\n"x",a\n'
    assert list(read_rows(write(tmp_path / "a.csv", content))) == [
        (2, {"text": "C:\\dir\\", "label": "a"}),
        (3, {"text": "C:\\new", "label": "b"}),
        (4, {"text": 'He said "no", twice', "label": "a"}),
        (5, {"text": 'a "b\nc" d', "label": "b"}),
        (7, {"text": "x", "label": "a"}),
    ]
    ends = write(tmp_path / "a.csv", 'text,label\n"ends in \\"",a\nb,c\n')  # as doubled quotes it would never close
    assert [row["text"] for row in rows(ends)] == ['ends in "', "b"]
    lost = list(read_lines(write(tmp_path / "a.csv", 'text,label\n"a \\"b" c,a\nx,y\n')))
    assert [(line.number, line.ends) for line in lost] == [(2, True)]
    assert "not with a backslash" in lost[0].reason


def test_quotes_between_tabs_may_be_text(tmp_path: Path) -> None:
    content = 'text\tlabel\n"Best" thing\ta\n"never closed\tb\nsaid "x"\ta\n"two\nlines"\tb\n"5\tb\n'
    assert list(read_rows(write(tmp_path / "a.tsv", content))) == [
        (2, {"text": '"Best" thing', "label": "a"}),
        (3, {"text": '"never closed', "label": "b"}),
        (4, {"text": 'said "x"', "label": "a"}),
        (5, {"text": "two\nlines", "label": "b"}),
        (7, {"text": '"5', "label": "b"}),
    ]


def test_a_record_that_no_way_reads_is_reported_as_it_was(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", 'text,label\n"a \\"b\n" c,d\ne,f\n')
    (line,) = read_lines(file)
    assert (line.number, line.ends, line.text) == (2, True, '"a \\"b\n" c,d\ne,f\n')
    file = write(tmp_path / "b.csv", 'text,label\n"a ""b""\nc",d,e\n"x\ny",z\n')
    assert [(line.number, line.row) for line in read_lines(file)] == [(2, None), (4, {"text": "x\ny", "label": "z"})]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS.*git lfs pull"),
        ("a.jsonl", b"\n<!DOCTYPE html>\n<html>", "an HTML page"),
        ("a.csv", b"<HTML><body>", "an HTML page"),
        ("a.xml", b"<?xml version='1.0'?><a/>", "an XML file"),
        ("a.csv", b"%PDF-1.7\n", "a PDF document"),
        ("a.db", b"SQLite format 3\0", "an SQLite database"),
        ("a.arrow", b"ARROW1\0\0", "an Arrow or Feather file: write it as Parquet"),
        ("a.pkl", b"\x80\x04\x95", "a Python pickle"),
        ("a.csv", b"\x28\xb5\x2f\xfd\0", "packed by zstd"),
        ("a.csv", bytes(range(32)) * 20, "it is not text"),
        ("a.csv", gzip.compress(b"PAR1 and more", mtime=0), "packed, and what is in it is not text"),
        ("a.csv", gzip.compress(b"text,label\n" + b"x,y\n" * 9, mtime=0)[:-20], "packed in it is damaged or cut off"),
        ("a.parquet", b"text,label\nx,y\n", "not a Parquet file"),
        ("a.parquet", b"PAR1 cut off", "not a Parquet file that can be read"),
        ("a.json", b'{"data": [{"text": "x"}, {"text": "y"}]}', "'data' holds a list of 2 objects"),
        ("a.json", json.dumps({"text": ["x", "y"], "label": ["a", "b"]}, indent=1).encode(), "holds columns"),
        ("a.json", b'{"text": {"0": "x", "1": "y"}, "label": {"0": "a", "1": "b"}}', "holds columns"),
    ],
)
def test_what_is_refused_says_what_the_file_looks_like(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    file = write(tmp_path / name, content)
    with pytest.raises(DataError, match=reason):
        list(read_rows(file))
    assert any(line.ends for line in read_lines(file))


def test_archives(tmp_path: Path) -> None:
    rows_file = write(tmp_path / "rows.csv", CSV)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(rows_file)
    assert "ZIP archive: unpack it" in fault(tmp_path / "a.zip")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(rows_file, "rows.csv")
    assert "tar archive" in fault(tmp_path / "a.tar.gz")


def test_lines_of_json_that_are_no_objects_are_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '["a list"]\n{"a": 1}\nbroken\n{"a": 1, "a": 2}\n')
    assert [(line.number, line.row, line.reason[:30]) for line in read_lines(file)] == [
        (1, None, "a JSON object with the columns"),
        (2, {"a": 1}, ""),
        (3, None, "not JSON: Expecting value at c"),
        (4, None, "the key 'a' stands twice in an"),
    ]


def test_a_first_line_that_is_broken_makes_no_other_format_of_lines(tmp_path: Path) -> None:
    for first in ("broken", '{"a": ', '{"a": 1} {'):
        lines = list(read_lines(write(tmp_path / "a.jsonl", f'{first}\n{{"a": 1}}\n{{"a": 2}}\n')))
        assert [line.row for line in lines][-2:] == [{"a": 1}, {"a": 2}], first


def test_an_array_ends_at_its_first_fault(tmp_path: Path) -> None:
    lines = list(read_lines(write(tmp_path / "a.json", '[{"a": 1},\n{"a": 2},\n\n{"a" 3},\n{"a": 4}]')))
    assert [(line.number, line.row, line.ends) for line in lines] == [
        (1, {"a": 1}, False),
        (2, {"a": 2}, False),
        (4, None, True),
    ]
    assert "Expecting ':' delimiter" in lines[-1].reason
    cut = list(read_lines(write(tmp_path / "a.json", '[{"a": 1},\n{"a": 2},\n')))
    assert "never closed" in cut[-1].reason
    after = list(read_lines(write(tmp_path / "a.json", '[{"a": 1},\n{"a": 2}]\n[{"a": 3}]')))
    assert (after[-1].row, after[-1].ends) == (None, True)
    strange = list(read_lines(write(tmp_path / "a.json", '[{"a": 1},\n12,\n{"a": 1, "a": 2},\n{"a": 3}]')))
    assert [(line.number, line.row) for line in strange] == [(1, {"a": 1}), (2, None), (3, None), (4, {"a": 3})]


def test_a_long_array_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whether.sources.tables.json_rows._CHUNK", 7)
    made = [{"text": "x" * size, "n": size} for size in range(1, 60)]
    for text in (json.dumps(made, indent=1), "\n".join(json.dumps(row, indent=1) for row in made)):
        found = list(read_rows(write(tmp_path / "a.json", text)))
        assert [row for _, row in found] == made
        lines = text.split("\n")
        assert all(lines[number - 1].strip().startswith("{") for number, _ in found)


def test_deep_and_strange_values_are_the_rows_error(tmp_path: Path) -> None:
    deep = '{"a": ' + "[" * 900 + "]" * 900 + "}"
    deeper = '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"
    brackets = json.dumps({"a": "[" * 200})
    file = write(tmp_path / "a.jsonl", f"{deep}\n{deeper}\n{brackets}\n")
    assert [line.row is None for line in read_lines(file)] == [True, True, False]
    assert all("nested deeper than 64" in line.reason for line in list(read_lines(file))[:2])


@pytest.mark.parametrize(
    "row",
    [
        {"text": "x", "spans": [{"at": 1}, {"at": 2}]},
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "tools": [{}, {}]},
        {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]},
        {"data": []},
    ],
)
def test_a_file_of_one_row(tmp_path: Path, row: dict[str, object]) -> None:
    for text in (json.dumps(row), json.dumps(row, indent=2), json.dumps([row])):
        assert rows(write(tmp_path / "a.json", text)) == [row]


def test_a_folder_of_parts(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "a.parquet"
    folder.mkdir()
    assert "it is empty" in fault(folder)
    pq.write_table(pa.table({"text": ["c"]}), folder / "part-1.parquet")
    pq.write_table(pa.table({"text": ["a", "b"]}), folder / "part-0.parquet")
    write(folder / "_SUCCESS", "")
    assert list(read_rows(folder)) == [(1, {"text": "a"}), (2, {"text": "b"}), (3, {"text": "c"})]
    assert location(folder, 3) == f"{folder}, row 3"
    write(folder / "notes.txt", "")
    assert "a folder of .parquet files only; it holds notes.txt" in fault(folder)


def test_names() -> None:
    for name in ("a.csv", "A.CSV", "a.b.json", "a.jsonl.gz", "a.Tsv.XZ", "a.xlsx"):
        assert is_named_as_rows(Path(name)), name
    for name in ("a.csv.part", "notes.txt", "a.gz", "csv", "a.csv.zip"):
        assert not is_named_as_rows(Path(name)), name


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufeff"), max_size=12)


@given(
    table=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_spreadsheet_quotes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]], separator: str, end: str
) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"'

    lines = [separator.join(("first", "second", "third")), *(separator.join(map(quoted, row)) for row in table)]
    file = write(tmp_path_factory.mktemp("table") / "a.csv", "".join(line + end for line in lines))
    found = list(read_lines(file, SourceConfig(path="a.csv", delimiter=separator)))
    assert [line.row for line in found] == [dict(zip(("first", "second", "third"), row, strict=True)) for row in table]


def test_a_line_is_not_its_neighbours_fault(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", 'text,label\na,b\nx,y,z\n"c\nd",e\nf\ng,h\n')
    assert [(line.number, line.row) for line in read_lines(file)] == [
        (2, {"text": "a", "label": "b"}),
        (3, None),
        (4, {"text": "c\nd", "label": "e"}),
        (6, None),
        (7, {"text": "g", "label": "h"}),
    ]
    assert isinstance(next(read_lines(file)), Line)


PIECES = [
    b"text,label\n", b"a,b\n", b'"', b"\\", b"\r", b"\n", b";", b"\t", b"{", b"}", b"[", b"]", b":", b'{"text": "x"}',
    b",", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"PAR1", b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"sep=;\n",
    b"<html", b"1e999", b"NaN", b"\xed\xa0\x80", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b'"\\ud83d"', b"  ",
    b"\xe2\x80\xa8",
]  # fmt: skip


@given(
    pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=12),
    name=st.sampled_from(["a.csv", "a.jsonl", "a.json", "a.tsv", "a.parquet", "a.txt", "a.csv.gz"]),
    encoding=st.sampled_from([None, "cp1252", "utf-16-le", "shift_jis"]),
    packed=st.booleans(),
)
def test_whatever_the_bytes_are_they_are_rows_or_reasons(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], name: str, encoding: str | None, packed: bool
) -> None:
    content = b"".join(pieces)
    file = write(tmp_path_factory.mktemp("any") / name, gzip.compress(content, mtime=0) if packed else content)
    try:
        lines = list(read_lines(file, SourceConfig(path=name, encoding=encoding)))
    except MissingPackageError:
        return
    assert all(bool(line.reason) == (line.row is None) for line in lines)
    assert not any(line.ends for line in lines[:-1])
    numbers = [line.number for line in lines]
    assert numbers == sorted(numbers)
    if not location(file, 1).endswith("row 1"):
        assert (
            max(numbers, default=1) <= len(re.split(r"\r\n|\r|\n", content.decode("latin-1")))
            or encoding == "utf-16-le"
        )
