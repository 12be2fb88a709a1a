"""A cell is text by its value, whichever format and library it comes from."""

import datetime as dt
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whether.records import read_json, write_json
from whether.records.values import plain, storable
from whether.sources.tables import cell_text, read_lines, read_rows
from whether.sources.tables.chats import chat_input, chat_target, is_chat


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1, 1.0, Decimal("1.00"), np.int8(1), np.float32(1), np.float64(1), pa.scalar(1.0), pa.scalar(1), "1"], "1"),
        ([0.1, np.float32(0.1), np.float16(0.1), pa.scalar(0.1), "0.1"], "0.1"),
        ([True, np.True_, pa.scalar(True)], "true"),
        ([None, float("nan"), np.nan, Decimal("nan"), pd.NaT, np.datetime64("NaT"), pa.scalar(None)], ""),
        ([Decimal("12.30"), "12.30"], "12.30"),
        ([-0.0, 0], "0"),
        ([2**53, 2**60], ""),
        ([1e22], "1e+22"),
        ([dt.date(2024, 5, 1), pa.scalar(dt.date(2024, 5, 1)), np.datetime64("2024-05-01")], "2024-05-01"),
        ([dt.datetime(2024, 5, 1, 8), pd.Timestamp("2024-05-01 08:00")], "2024-05-01T08:00:00"),
        ([dt.datetime(2024, 5, 1, 8, tzinfo=dt.UTC)], "2024-05-01T08:00:00+00:00"),
        ([dt.time(8, 30)], "08:30:00"),
        ([dt.timedelta(minutes=1), dt.timedelta(seconds=60)], "60"),
        ([b"caf\xc3\xa9", bytearray(b"caf\xc3\xa9"), pa.scalar(b"caf\xc3\xa9"), "café"], "café"),
    ],
)
def test_one_value_has_one_text(values: list[Any], text: str) -> None:
    for value in values:
        assert cell_text(plain(value), "a") == (text or ("" if plain(value) is None else str(value))), value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("inf"), "an infinite number"),
        (Decimal("-Infinity"), "an infinite number"),
        (b"\xff\xd8", "bytes that are not UTF-8"),
        (["a"], "holds a list"),
        ({"a": 1}, "holds a dict"),
        (np.array([1, 2]), "holds a list"),
        ("cut \ud83d", r"half of a character at place 5 \(the surrogate U\+D83D\)"),
    ],
)
def test_what_has_no_text_is_refused_by_column(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"column 'note' .*{reason}"):
        cell_text(plain(value), "note")


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.binary(max_size=9), st.dates(),
        st.datetimes(), st.times(), st.timedeltas(), st.text(st.characters()), st.uuids(),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(anything)
def test_whatever_a_cell_holds_can_be_written_and_stays_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    kept = storable(value)
    file = tmp_path_factory.mktemp("record") / "a.json"
    write_json(file, {"cell": kept})
    assert read_json(file)["cell"] == kept
    assert storable(kept) == kept
    assert plain(plain(value)) == plain(value) or "nan" in repr(value)


@given(anything)
def test_a_cell_that_has_a_text_keeps_it_in_a_record(value: object) -> None:
    try:
        text = cell_text(plain(value), "a")
    except ValueError:
        return
    assert cell_text(json.loads(json.dumps(storable(value))), "a") == text


def test_a_record_knows_dates_and_scalars_and_refuses_nan(tmp_path: Path) -> None:
    write_json(
        tmp_path / "a.json", {"day": dt.date(2024, 5, 1), "sum": Decimal("1.50"), "n": np.int64(3), "x": "\ud83d"}
    )
    assert read_json(tmp_path / "a.json") == {"day": "2024-05-01", "sum": "1.50", "n": 3, "x": "\ufffd"}


def parquet(path: Path, **columns: Any) -> list[dict[str, Any]]:
    pq.write_table(pa.table(columns), path)
    return [row for _, row in read_rows(path)]


def test_columns_of_parquet(tmp_path: Path) -> None:
    rows = parquet(
        tmp_path / "a.parquet",
        f=pa.array([1.0, None, math.nan, 0.5]),
        g=pa.array([0.1, 1, None, math.inf], pa.float32()),
        h=pa.array(np.array([0.1, 1, 2, 3], np.float16)),
        d=pa.array([dt.date(2024, 5, 1)] * 4),
        m=pa.array([Decimal("1.00"), Decimal("2.50"), None, Decimal("0.00")]),
        b=pa.array([b"x", b"\xff", None, b""]),
        l=pa.array([[0.1], [1.0], None, []], pa.list_(pa.float32())),
        s=pa.array([{"when": dt.datetime(2024, 5, 1), "x": math.nan}] * 4),
        t=pa.array([1, 2, None, 4], pa.timestamp("ns")),
        c=pa.array(["u", "v", None, "u"]).dictionary_encode(),
        big=pa.array(["p", "q", None, "r"], pa.large_string()),
        none=pa.nulls(4),
    )
    assert [row["f"] for row in rows] == [1, None, None, 0.5]
    assert [row["g"] for row in rows] == [0.1, 1, None, math.inf]
    assert [row["h"] for row in rows] == [0.1, 1, 2, 3]
    assert rows[0]["d"] == "2024-05-01"
    assert [row["m"] for row in rows] == [1, "2.50", None, 0]
    assert [row["b"] for row in rows] == ["x", b"\xff", None, ""]
    assert [row["l"] for row in rows] == [[0.1], [1], None, []]
    assert rows[0]["s"] == {"when": "2024-05-01T00:00:00", "x": None}
    assert str(rows[0]["t"]).startswith("1970-01-01")
    assert [row["c"] for row in rows] == ["u", "v", None, "u"]
    assert list(rows[0]) == ["f", "g", "h", "d", "m", "b", "l", "s", "t", "c", "big", "none"]


def test_texts_of_parquet_that_are_not_utf8_are_the_rows_error(tmp_path: Path) -> None:
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff"))
    assert parquet(tmp_path / "a.parquet", text=broken, n=[1.0, 2.0]) == [
        {"text": "a", "n": 1},
        {"text": b"\xff", "n": 2},
    ]


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["label", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    (line,) = read_lines(tmp_path / "a.parquet")
    assert (line.ends, line.reason) == (True, "it has two columns of the name 'label': remove or rename one")


def test_class_names_come_from_the_files_metadata(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["ham", "spam"]),
            "all": datasets.Sequence(datasets.ClassLabel(names=["x", "y"])),
        }
    )
    data = {"text": ["a", "b", "c"], "label": [1, 0, -1], "all": [[0, 1], [], [1]]}
    datasets.Dataset.from_dict(data, features=features).to_parquet(tmp_path / "a.parquet")
    assert [row for _, row in read_rows(tmp_path / "a.parquet")] == [
        {"text": "a", "label": "spam", "all": ["x", "y"]},
        {"text": "b", "label": "ham", "all": []},
        {"text": "c", "label": None, "all": ["y"]},
    ]


def test_numbers_of_json(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1.0, "b": 1e3, "c": NaN, "d": 1e999, "e": -Infinity, "f": {"g": 2.50}}\n')
    ((_, row),) = read_rows(file)
    assert row == {"a": 1, "b": 1000, "c": None, "d": math.inf, "e": -math.inf, "f": {"g": 2.5}}
    assert isinstance(row["a"], int)


def turn(role: str, text: object) -> dict[str, object]:
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    ("chat", "asked", "answer"),
    [
        ([turn("user", "Q"), turn("assistant", "A")], "Q", "A"),
        ([turn("system", "S"), turn("user", "Q"), turn("assistant", "A")], "Q", "A"),
        ([{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "Q", "A"),
        ([turn("user", "Q"), turn("assistant", "A"), turn("user", "R"), turn("assistant", "B")],
         "user: Q\nassistant: A\nuser: R", "B"),
        ([turn("user", [{"type": "text", "text": "Q"}]), turn("assistant", [{"text": "A"}, "!"])], "Q", "A!"),
        ([turn("user", "Q")], "Q", ""),
        ([turn("assistant", "A")], "", "A"),
    ],
)  # fmt: skip
def test_a_chat_is_what_was_asked_or_the_answer(chat: list[Any], asked: str, answer: str) -> None:
    assert is_chat(chat)
    assert (chat_input(chat), chat_target(chat)) == (asked, answer)
    assert (cell_text(chat, "m"), cell_text(chat, "m", "target")) == (asked, answer)


def test_what_is_not_a_text_of_a_chat_is_refused() -> None:
    for cell in ([], [{"role": "user"}], ["text"], "text", [turn("user", "Q"), 1]):
        assert not is_chat(cell)
    with pytest.raises(
        ValueError, match="column 'm' holds a chat: a turn of the user holds a part of the type 'image'"
    ):
        cell_text([turn("user", [{"type": "image", "url": "x"}]), turn("assistant", "A")], "m")
    with pytest.raises(ValueError, match="a turn of the assistant calls tools"):
        cell_text([turn("user", "Q"), turn("assistant", None) | {"tool_calls": [{}]}], "m", "target")
