"""What becomes of an input that is longer than the context window: an error, or a cut that is counted and reported."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from whether.config import types
from whether.errors import EngineError

logger = logging.getLogger(__name__)


class Input(NamedTuple):
    """Tokens that stand before an answer or a continuation, and how many of them there is room for, at least 1."""

    tokens: list[int]
    room: int


class Truncation:
    """A policy, and how much it has cut so far."""

    def __init__(self, policy: types.Truncation, window: int):
        """Apply a policy to the inputs of a model with this context window."""
        self.policy = policy
        self.window = window
        self.requests = 0
        """Inputs that were cut, over all calls."""
        self.tokens = 0
        """Tokens that were cut off them."""

    def fit(self, inputs: Iterable[Input]) -> list[list[int]]:
        """Return as many of each input's last tokens as there is room for, and say once how much was cut.

        Raises EngineError under the policy `error` for the first input that is too long.
        """
        fitting, surpluses = [], []
        for index, (tokens, room) in enumerate(inputs):
            surplus = max(0, len(tokens) - room)
            if surplus and self.policy == "error":
                raise EngineError(
                    f"request {index} has {len(tokens)} tokens of context, and there is room for {room} in the model's"
                    f" context window of {self.window}: shorten it, or set truncation to left to drop its beginning"
                )
            surpluses += [surplus] if surplus else []
            fitting.append(tokens[surplus:])
        if surpluses:
            self.requests += len(surpluses)
            self.tokens += sum(surpluses)
            logger.warning(
                "%d of %d requests are longer than the context window of %d tokens: their beginnings are cut off,"
                " %d tokens in all",
                *(len(surpluses), len(fitting), self.window, sum(surpluses)),
            )
        return fitting
