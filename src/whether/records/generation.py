"""What a model answered, and how likely it finds given answers."""

from typing import NamedTuple


class ContinuationScore(NamedTuple):
    """How likely a continuation is."""

    log_likelihood: float
    """Sum of the natural-log probabilities of the continuation's tokens; 0.0 for an empty continuation."""
    is_greedy: bool
    """Whether every token of the continuation is the most likely one at its place."""
    tokens: int
    """Tokens of the continuation."""


class Generation(NamedTuple):
    """What a model wrote after one prompt."""

    token_ids: list[int] | None
    """The new tokens, those of a stop string included, without the token that ended the sequence; None: not told."""
    text: str
    """The new tokens decoded without special tokens, up to the first stop string."""
    input_tokens: int | None
    """Tokens of the prompt; None where a server does not tell."""
    cached_tokens: int | None
    """Of these, how many other answers of the same call follow too, so that they were computed once for all (the last
    few of them more often, where that is cheaper than a pass of their own). From a server: how many it says that it had
    computed before; None where it does not tell."""
    output_tokens: int | None
    """New tokens, as a server counts them or those of `token_ids`; None where a server does not tell."""
    seconds: float
    """This answer's equal share of the wall time of the batch that it was written in. From a server: the time from
    sending its request to the answer's last byte, without attempts that failed and the waits after them."""
    finished: bool = True
    """Whether it ended by itself, by a stop string or by its constraint; False: it was cut at the most new tokens."""


class LabelScores(NamedTuple):
    """How likely given answers are to one chat."""

    scores: list[ContinuationScore]
    """Of each answer, with the token that ends its turn; a linear probe's tokens are its labels."""
    input_tokens: int
    """Tokens of the prompt."""
    cached_tokens: int
    """Of these, how many were computed once for several chats."""
    seconds: float
    """This chat's equal share of the call's wall time."""
