import json
from pathlib import Path
from typing import Any

import pytest

from whether.config import SourceConfig, TaskConfig
from whether.errors import ConfigError, DataError
from whether.prepare.rows import read_examples
from whether.records import Example

SCHEMA = {"type": "object", "properties": {"intent": {"enum": ["a", "b"]}}, "required": ["intent"]}


def task(path: Path, **changed: Any) -> TaskConfig:
    settings: dict[str, Any] = {
        "name": "t", "source": SourceConfig(path=str(path)), "inputs": {"message": "text"}, "target": "answer",
        "output": "label", "instruction": "Answer.",
    }  # fmt: skip
    return TaskConfig(**(settings | changed))


def jsonl(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def examples(config: TaskConfig) -> list[Example]:
    return [row.example for row in read_examples(config).rows]


def test_columns_become_inputs_and_target(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, {"title": "T", "text": "B", "answer": " a ", "other": 1}, {"title": "", "text": "C", "answer": "b"}
    )
    rows = examples(task(path, inputs={"head": "title", "body": "text"}))
    assert [(row.inputs, row.target) for row in rows] == [
        ({"head": "T", "body": "B"}, "a"),
        ({"head": "", "body": "C"}, "b"),
    ]


def test_an_id_depends_on_the_inputs_only(tmp_path: Path) -> None:
    first = examples(task(jsonl(tmp_path, {"text": "x", "answer": "a"}, {"text": "y", "answer": "b"})))
    second = examples(task(jsonl(tmp_path, {"text": "y", "answer": "c"}, {"text": "x", "answer": "a"})))
    assert [row.id for row in first] == [row.id for row in reversed(second)]
    assert len({row.id for row in first}) == 2


def test_numbers_and_booleans_read_as_json_writes_them(tmp_path: Path) -> None:
    rows = examples(task(jsonl(tmp_path, {"text": 1.5, "answer": True}, {"text": 3, "answer": False})))
    assert [(row.inputs["message"], row.target) for row in rows] == [("1.5", "true"), ("3", "false")]


def test_a_json_target_may_be_an_object_text_or_a_template(tmp_path: Path) -> None:
    rows = [{"text": "x", "answer": {"z": 1, "intent": "a"}}, {"text": "y", "answer": '{"intent":"b",\n"z":2}'}]
    path = jsonl(tmp_path, *rows)
    assert [row.target for row in examples(task(path, output="json", schema=SCHEMA))] == [
        '{"intent": "a", "z": 1}',
        '{"intent": "b", "z": 2}',
    ]
    path = jsonl(tmp_path, {"text": "x", "label": 'a"'})
    loose = task(path, output="json", schema={"type": "object"}, target='{"intent": {{ label | tojson }}}')
    assert [json.loads(row.target) for row in examples(loose)] == [{"intent": 'a"'}]


@pytest.mark.parametrize(
    ("row", "changed", "reason"),
    [
        ({"text": "  ", "answer": "a"}, {}, r"the input is empty \(text\)"),
        ({"text": None, "answer": "a"}, {}, "the input is empty"),
        ({"text": "x", "answer": ""}, {}, r"the target is missing \(answer\)"),
        ({"text": "x"}, {}, "column 'answer' is missing"),
        ({"text": ["x"], "answer": "a"}, {}, "column 'text' holds a list"),
        (
            {"text": "x", "answer": "A"},
            {"labels": ["a", "b"]},
            r"label 'A' is not among task\.labels Known: a, b|label 'A'",
        ),
        ({"text": "x", "answer": "billin"}, {"labels": ["billing", "b"]}, "did you mean 'billing'"),
        ({"text": "x", "answer": "{"}, {"output": "json", "schema": SCHEMA}, "is not JSON"),
        ({"text": "x", "answer": '{"intent": NaN}'}, {"output": "json", "schema": SCHEMA}, "NaN is not JSON"),
        (
            {"text": "x", "answer": {"intent": "c"}},
            {"output": "json", "schema": SCHEMA},
            r"'c' is not one of .* at \$\.intent",
        ),
        ({"text": "x", "answer": "about 7"}, {"output": "text", "answer_pattern": r"\d+"}, "would read '7'"),
        ({"text": "x", "answer": "one\ntwo"}, {"output": "text"}, "one line"),
    ],
)
def test_a_bad_row_is_named_with_line_and_reason(
    tmp_path: Path, row: dict[str, Any], changed: dict[str, Any], reason: str
) -> None:
    good: dict[str, Any] = {"text": "ok", "answer": (changed.get("labels") or ["7"])[0]}
    if changed.get("output") == "json":
        good["answer"] = {"intent": "a"}
    with pytest.raises(DataError, match=rf"rows\.jsonl, line 2: .*{reason}"):
        read_examples(task(jsonl(tmp_path, good, row), **changed))


def test_an_error_names_the_first_five_bad_rows(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "x", "answer": "a"}, *[{"text": "", "answer": "a"}] * 8)
    with pytest.raises(DataError, match=r"max_bad_rows=0") as raised:
        read_examples(task(path))
    assert [f"line {number}:" in str(raised.value) for number in range(1, 9)] == [False] + [True] * 5 + [False] * 2


def test_so_many_bad_rows_as_allowed_are_set_aside(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "", "answer": "a"}, {"text": "x", "answer": "a"}, {"text": "y", "answer": ""})
    table = read_examples(task(path, max_bad_rows=2))
    assert [row.line for row in table.rows] == [2]
    assert [(bad.line, bad.row["answer"]) for bad in table.rejected] == [(1, "a"), (3, "")]
    with pytest.raises(DataError, match="max_bad_rows=1"):
        read_examples(task(path, max_bad_rows=1))


def test_a_wrong_column_is_named_with_near_matches(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"texts": "x", "answer": "a"})
    with pytest.raises(DataError, match=r"no column 'text', which task\.inputs\.message names; did you mean 'texts'"):
        read_examples(task(path))
    with pytest.raises(DataError, match=r"no column 'reply', which task\.target names"):
        read_examples(task(path, inputs={"message": "texts"}, target="reply"))
    with pytest.raises(
        ConfigError, match=r"task\.target over the columns.*'anser' is undefined; did you mean 'answer'"
    ):
        read_examples(task(path, inputs={"message": "texts"}, target="{{ anser }}"))


def test_a_column_may_be_missing_in_some_rows_and_not_in_all(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "x"}, {"text": "y", "answer": "a"}, {"text": "z", "answer": "b", "other": 1})
    assert [bad.line for bad in read_examples(task(path, max_bad_rows=1)).rejected] == [1]
    with pytest.raises(DataError, match=r"line 1: column 'answer' is missing; known: text"):
        read_examples(task(path))
    path = jsonl(tmp_path, {"text": "x"}, {"text": "y", "reply": "a"})
    with pytest.raises(DataError, match=r"has no column 'answer', which task\.target names; known: reply, text"):
        read_examples(task(path, max_bad_rows=9))


def test_the_columns_of_a_table_with_another_separator_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text:answer\nx:a\n")
    with pytest.raises(
        DataError, match=r"known: text:answer\. It has one column only: .*first line.*task\.source\.del"
    ):
        read_examples(task(path))
    assert len(read_examples(task(path, source=SourceConfig(path=str(path), delimiter=":"))).rows) == 1


def test_a_line_that_is_no_row_is_a_bad_row_and_a_file_that_ends_early_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,answer\nx,a\ny,b,c\nz,\xff\nv,b\n")
    table = read_examples(task(path, max_bad_rows=2))
    assert [row.line for row in table.rows] == [2, 5]
    assert [bad.record() for bad in table.rejected] == [
        {"line": 3, "reason": table.rejected[0].reason, "row": None, "text": "y,b,c"},
        {"line": 4, "reason": table.rejected[1].reason, "row": None, "text": "z,\ufffd"},
    ]
    path.write_text('text,answer\nx,a\n"never closed,b\n')
    with pytest.raises(DataError, match=r"rows\.csv, line 3: not CSV from here on"):
        read_examples(task(path, max_bad_rows=9))
    path.write_text("text,answer\n")
    with pytest.raises(DataError, match="is empty"):
        read_examples(task(path))
    path.write_text("text,answer\nx,\n")
    with pytest.raises(DataError, match="no row that fits the task"):
        read_examples(task(path, max_bad_rows=9))


def test_a_template_that_fails_is_the_rows_error(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, {"text": "q: x", "answer": "is a"}, {"text": "y", "answer": "is b"}, {"text": "q: z", "answer": "c"}
    )
    changed = {"target": "{{ answer.split('is ')[1] }}", "input_template": "{{ message.split(': ')[1] }}"}
    table = read_examples(task(path, max_bad_rows=2, **changed))
    assert [(bad.line, bad.reason) for bad in table.rejected] == [
        (2, "task.input_template: list object has no element 1"),
        (3, "task.target: list object has no element 1"),
    ]
    with pytest.raises(DataError, match=r"rows\.jsonl, line 3: task\.target: list object"):
        read_examples(task(path, **changed))
    for field in ("target", "input_template"):
        with pytest.raises(ConfigError, match=rf"task\.{field}.*line 1: "):
            read_examples(task(path, **{field: "{{ answer | }}"}))
    with pytest.raises(ConfigError, match=r"task\.input_template: 'text' is undefined; known: message"):
        read_examples(task(path, input_template="{{ text }}"))


@pytest.mark.parametrize(
    ("row", "changed", "reason"),
    [
        ({"text": "x", "answer": "cut \ud83d"}, {}, "column 'answer' holds half of a character"),
        ({"text": "cut \ud83d", "answer": "a"}, {}, "column 'text' holds half of a character"),
        (
            {"text": "x", "answer": {"a": "\ud83d"}},
            {"output": "json", "schema": {"type": "object"}},
            "the target holds half",
        ),
        ({"text": "x", "answer": float("inf")}, {}, "column 'answer' holds an infinite number"),
        ({"text": "x", "answer": float("nan")}, {}, "the target is missing"),
        ({"text": float("nan"), "answer": "a"}, {}, "the input is empty"),
        ({"text": "x", "answer": [{"role": "user", "content": "Q"}]}, {}, "the target is missing"),
    ],
)
def test_a_value_without_a_text_is_the_rows_error(
    tmp_path: Path, row: dict[str, Any], changed: dict[str, Any], reason: str
) -> None:
    good: dict[str, Any] = {"text": "ok", "answer": {"a": 1} if changed else "a"}
    table = read_examples(task(jsonl(tmp_path, good, row), max_bad_rows=1, **changed))
    ((line, said, *_),) = table.rejected
    assert line == 2
    assert reason in said
    json.dumps(table.rejected[0].record(), allow_nan=False).encode()


def test_one_number_is_one_class(tmp_path: Path) -> None:
    rows = examples(task(jsonl(tmp_path, *({"text": str(n), "answer": one} for n, one in enumerate((1, 1.0, "1"))))))
    assert {row.target for row in rows} == {"1"}
    loose = task(jsonl(tmp_path, {"text": "x", "answer": 42.0}), output="text", target="{{ answer }}")
    assert [row.target for row in examples(loose)] == ["42"]


def test_the_group_is_a_column_that_no_row_lacks(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "A", "answer": "a", "who": 7}, {"text": "B", "answer": "b", "who": " x "})
    assert [example.group for example in examples(task(path, group="who"))] == ["7", "x"]
    assert [example.group for example in examples(task(path))] == [None, None]
    with pytest.raises(DataError, match=r"no column 'whom', which task\.group names; did you mean 'who'"):
        read_examples(task(path, group="whom"))
    path = jsonl(tmp_path, {"text": "A", "answer": "a", "who": ""})
    with pytest.raises(DataError, match=r"line 1: the group is missing \(who\)"):
        read_examples(task(path, group="who"))
