"""Perplexity on general text that no checkpoint was tuned on."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic.dataclasses import dataclass

from whether.errors import DataError
from whether.records import read_jsonl

if TYPE_CHECKING:
    from whether.engine.local import LocalModel


@dataclass(frozen=True)
class Passage:
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
    log_likelihood, tokens = 0.0, 0
    for passage in read_jsonl(path, Passage):
        ids = local.tokenizer(passage.input, add_special_tokens=False)["input_ids"][: max_tokens - tokens]
        if ids:
            score = local.rolling_loglikelihood(ids)
            log_likelihood += score.log_likelihood
            tokens += score.tokens
    if not tokens:
        raise DataError(f"{path} holds no text: perplexity needs at least one token")
    return Perplexity(math.exp(-log_likelihood / tokens), tokens)
