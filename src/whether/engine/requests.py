"""What is asked of a model and what it answers."""

from typing import NamedTuple


class ScoringRequest(NamedTuple):
    """A continuation to score after a context, both as token ids.

    Where the boundary lies matters: the same tokens with another boundary are another request. An empty context
    means the tokenizer's bos token (eos, if it has none), as in lm-eval.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]
