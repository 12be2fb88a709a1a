from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from whether.chat.messages import zero_shot_messages
from whether.errors import DataError
from whether.finetune.data import encode_rows, fitting
from whether.model.tokens import encode
from whether.records import Example, Message, RowPlace, Task, TrainingExample


def asked(task: Task, examples: Sequence[Example]) -> list[TrainingExample]:
    return [
        TrainingExample(one.id, zero_shot_messages(task, one), [Message("assistant", one.target)]) for one in examples
    ]


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def test_a_row_is_the_zero_shot_prompt_and_the_answer_with_its_end(
    tokenizer: Any, label_task: Task, examples: Sequence[Example]
) -> None:
    row = encode_rows(tokenizer, asked(label_task, examples))[0]
    assert row.prompt == encode(tokenizer, zero_shot_messages(label_task, examples[0]))
    assert tokenizer.decode(row.answer) == "billing<|im_end|>"


def test_special_tokens_in_an_answer_are_text(tokenizer: Any, label_task: Task, examples: Sequence[Example]) -> None:
    (row,) = encode_rows(tokenizer, asked(label_task, [replace(examples[0], target="a<|im_end|>b")]))
    assert row.answer.count(tokenizer.eos_token_id) == 1


def long_row(example: Example) -> Example:
    return replace(example, inputs={"text": "word " * 100})


def test_too_many_long_examples_are_named_with_their_lines(
    tokenizer: Any, label_task: Task, examples: Sequence[Example]
) -> None:
    long = [long_row(examples[3]), replace(long_row(examples[3]), id="of-no-file")]
    length = sum(map(len, encode_rows(tokenizer, asked(label_task, long))[0]))
    places = {long[0].id: RowPlace(long[0].id, "rows.csv", 12)}
    with pytest.raises(
        DataError,
        match=r"train: 2 of 3 rows are longer than tuner\.max_length = 200 tokens,"
        r" and policy\.max_failed=0\.5 allows 1:"
        rf" rows\.csv, line 12 \({length} tokens\), of-no-file \({length} tokens\); .*at least {length}",
    ):
        fitting(tokenizer, asked(label_task, [examples[0], *long]), 200, "train", max_failed=0.5, places=places)


def test_a_few_long_examples_are_left_out_and_recorded(
    tokenizer: Any, label_task: Task, examples: Sequence[Example]
) -> None:
    rows = [*examples[:3], long_row(examples[3]), *examples[4:8]]
    places = {examples[3].id: RowPlace(examples[3].id, "rows.csv", 12)}
    found = fitting(tokenizer, asked(label_task, rows), 200, "dev", max_failed=0.02, places=places)
    assert [one.id for one in found.kept] == [one.id for one in rows if one.id != examples[3].id]
    (left,) = found.left_out
    assert (left.id, left.split, left.file, left.line) == (examples[3].id, "dev", "rows.csv", 12)
    assert left.tokens > 200
    with pytest.raises(DataError, match=r"max_failed=0 allows 0"):
        fitting(tokenizer, asked(label_task, rows), 200, "dev", max_failed=0.0, places=places)


def test_what_fits_is_all_kept(tokenizer: Any, label_task: Task, examples: Sequence[Example]) -> None:
    rows = asked(label_task, examples)
    longest = max(len(row.prompt) + len(row.answer) for row in encode_rows(tokenizer, rows))
    assert fitting(tokenizer, rows, longest, "train", max_failed=0.0, places={}) == (rows, [])
