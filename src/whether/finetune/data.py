"""Training examples as token sequences: the prompt, and the answer to learn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from whether.errors import DataError
from whether.model.tokens import encode, encode_answer
from whether.records import TrainingExample

_SHOWN = 5


class TrainingRow(NamedTuple):
    """One example in token ids. The loss is on `answer` alone.

    For a model that ends in a label head the answer is one number, the label's, in the place of a token.
    """

    prompt: list[int]
    """The chat up to where the answer starts; at least one token."""
    answer: list[int]
    """The right answer and the token that ends the turn."""


class Classes(NamedTuple):
    """The class of each row."""

    train: list[str]
    dev: list[str]


def label_rows(
    rows: Sequence[TrainingRow], examples: Sequence[TrainingExample], labels: Sequence[str]
) -> list[TrainingRow]:
    """Return the rows of the examples with the numbers of their labels as answers, for a model with a label head."""
    return [
        TrainingRow(row.prompt, [labels.index(str(example.label))]) for row, example in zip(rows, examples, strict=True)
    ]


def encode_rows(tokenizer: Any, examples: Sequence[TrainingExample], max_length: int, split: str) -> list[TrainingRow]:
    """Return a row for each example, in their order.

    Raises DataError that names the examples whose prompt and answer together are longer than `max_length` tokens:
    to cut them would train on another task than the one that is measured.
    """
    rows = [
        TrainingRow(encode(tokenizer, example.prompt), encode_answer(tokenizer, example.answer)) for example in examples
    ]
    lengths = {example.id: len(row.prompt) + len(row.answer) for example, row in zip(examples, rows, strict=True)}
    long = {id_: length for id_, length in lengths.items() if length > max_length}
    if long:
        shown = ", ".join(f"{id_} ({length} tokens)" for id_, length in list(long.items())[:_SHOWN])
        more = f" and {len(long) - _SHOWN} more" if len(long) > _SHOWN else ""
        raise DataError(
            f"{split}: longer than tuner.max_length = {max_length} tokens: {shown}{more}; set tuner.max_length to at"
            f" least {max(long.values())}, or take the examples out"
        )
    return rows
