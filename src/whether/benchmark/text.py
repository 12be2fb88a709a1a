"""Perplexity on general text that no checkpoint was tuned on."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic.dataclasses import dataclass

from whether.errors import DataError
from whether.model.tokens import encode_text
from whether.records import read_jsonl

if TYPE_CHECKING:
    from whether.engine.local import LocalModel


@dataclass(frozen=True)
class TextPassage:
    """A line of the text file; other keys are not read."""

    input: str


class Perplexity(NamedTuple):
    """exp of the mean negative log-likelihood a token, and the tokens that it is the mean of."""

    value: float
    tokens: int


def measure_perplexity(local: "LocalModel", path: Path, max_tokens: int) -> Perplexity:
    """Score the passages of a JSONL file in their order, each by itself, until `max_tokens` tokens are done.

    The last one may be cut. Raises RecordError for a file or line that cannot be read, DataError for one without text.
    """
    texts, room = [], max_tokens
    for passage in read_jsonl(path, TextPassage):
        texts.append(encode_text(local.tokenizer, passage.input)[:room])
        room -= len(texts[-1])
    scores = local.rolling_loglikelihoods([text for text in texts if text])
    tokens = sum(score.tokens for score in scores)
    if not tokens:
        raise DataError(f"{path} holds no text: perplexity needs at least one token")
    return Perplexity(math.exp(-sum(score.log_likelihood for score in scores) / tokens), tokens)
