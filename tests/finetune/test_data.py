from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from whether.chat.messages import zero_shot_messages
from whether.errors import DataError
from whether.finetune.data import encode_rows
from whether.model.tokens import encode
from whether.records import Example, Message, Task, TrainingExample


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
    row = encode_rows(tokenizer, asked(label_task, examples), 200, "train")[0]
    assert row.prompt == encode(tokenizer, zero_shot_messages(label_task, examples[0]))
    assert tokenizer.decode(row.answer) == "billing<|im_end|>"


def test_special_tokens_in_an_answer_are_text(tokenizer: Any, label_task: Task, examples: Sequence[Example]) -> None:
    (row,) = encode_rows(tokenizer, asked(label_task, [replace(examples[0], target="a<|im_end|>b")]), 200, "train")
    assert row.answer.count(tokenizer.eos_token_id) == 1


def test_too_long_examples_are_named(tokenizer: Any, label_task: Task, examples: Sequence[Example]) -> None:
    long = replace(examples[3], inputs={"text": "word " * 100})
    length = sum(map(len, encode_rows(tokenizer, asked(label_task, [long]), 10_000, "train")[0]))
    with pytest.raises(DataError, match=rf"train: .* 200 tokens: {long.id} \({length} tokens\); .*at least {length}"):
        encode_rows(tokenizer, asked(label_task, [examples[0], long]), 200, "train")
