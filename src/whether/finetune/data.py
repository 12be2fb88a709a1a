"""Training examples as token sequences: the prompt, and the answer to learn."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from whether.errors import DataError
from whether.model.tokens import encode, encode_answer
from whether.records import RowPlace, TrainingExample, allowed_failures

logger = logging.getLogger(__name__)

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


def encode_rows(tokenizer: Any, examples: Sequence[TrainingExample]) -> list[TrainingRow]:
    """Return a row for each example, in their order."""
    return [
        TrainingRow(encode(tokenizer, example.prompt), encode_answer(tokenizer, example.answer)) for example in examples
    ]


class LeftOut(NamedTuple):
    """An example that is not trained on, or not measured on: a line of left_out.jsonl."""

    id: str
    split: str
    tokens: int
    """Of prompt and answer together."""
    reason: str
    file: str | None
    line: int | None
    """Where it stood in the data when the checkpoint was made; None where that is not known."""


class Fitting(NamedTuple):
    """The examples of a split that fit, and the others."""

    kept: list[TrainingExample]
    left_out: list[LeftOut]


def fitting(
    tokenizer: Any, examples: Sequence[TrainingExample], max_length: int, split: str, *, max_failed: float,
    places: Mapping[str, RowPlace],
) -> Fitting:  # fmt: skip
    """Leave out the examples whose prompt and answer together are longer than `max_length` tokens.

    To cut them would train on another task than the one that is measured. `places` says where examples stand in the
    data. Raises DataError that names them where they are more than the share `max_failed` (`allowed_failures`).
    """
    rows = encode_rows(tokenizer, examples)
    lengths = [len(row.prompt) + len(row.answer) for row in rows]
    long = {example.id: length for example, length in zip(examples, lengths, strict=True) if length > max_length}
    if not long:
        return Fitting(list(examples), [])
    left_out = [_left_out(id_, split, length, max_length, places.get(id_)) for id_, length in long.items()]
    allowed = allowed_failures(len(examples), max_failed)
    shown = ", ".join(_shown(one) for one in left_out[:_SHOWN])
    more = f" and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    said = f"{split}: {len(left_out)} of {len(examples)} rows are longer than tuner.max_length = {max_length} tokens"
    if len(left_out) > allowed:
        raise DataError(
            f"{said}, and policy.max_failed={max_failed:g} allows {allowed}: {shown}{more}; set tuner.max_length to at"
            f" least {max(long.values())}, or take the rows out"
        )
    logger.warning("%s and are left out: %s%s", said, shown, more)
    return Fitting([example for example in examples if example.id not in long], left_out)


def _left_out(id_: str, split: str, length: int, max_length: int, place: RowPlace | None) -> LeftOut:
    reason = f"longer than tuner.max_length = {max_length} tokens"
    return LeftOut(id_, split, length, reason, place.file if place else None, place.line if place else None)


def _shown(one: LeftOut) -> str:
    return f"{one.file}, line {one.line} ({one.tokens} tokens)" if one.file else f"{one.id} ({one.tokens} tokens)"
