"""What is asked of a model and what it answers."""

from typing import NamedTuple


class Request(NamedTuple):
    """A continuation to score after a context, both as token ids.

    Where the boundary lies matters: the same tokens with another boundary are another request. An empty context
    means the tokenizer's bos token (eos, if it has none), as in lm-eval.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]


class Score(NamedTuple):
    """How likely a continuation is."""

    log_likelihood: float
    """Sum of the natural-log probabilities of the continuation's tokens; 0.0 for an empty continuation."""
    is_greedy: bool
    """Whether every token of the continuation is the most likely one at its place."""
    tokens: int
    """Tokens of the continuation."""


class Generation(NamedTuple):
    """What a model wrote after one prompt."""

    token_ids: list[int]
    """The new tokens, those of a stop string included, without the token that ended the sequence."""
    text: str
    """The new tokens decoded without special tokens, up to the first stop string."""
    input_tokens: int
    """Tokens of the prompt."""
    cached_tokens: int
    """Of these, how many other prompts of the same call start with too, so that they were computed once for all."""
    seconds: float
    """This prompt's equal share of the wall time of the batch that it was answered in."""
