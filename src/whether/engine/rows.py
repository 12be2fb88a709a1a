"""Answers while they are written: when each is done, and what follows in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from whether.engine.constraints import Matcher
from whether.engine.sampling import candidates, random_generator, token_sampler
from whether.records import Sampling

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from whether.engine.prefix_tree import Tokens


class StopCriteria(NamedTuple):
    """When a row is done."""

    max_new_tokens: int
    eos_token_ids: frozenset[int]
    is_stopped: Callable[[list[int]], bool]
    """Whether the new tokens so far end with a stop string."""


@dataclass
class DecodingRow:
    """One answer."""

    ending: StopCriteria
    walk: Matcher | None
    """How far it has come in what it may be; None without a constraint."""
    generator: "np.random.Generator | None" = None
    """Its randomness; None when decoding greedily."""
    tokens: list[int] = field(default_factory=list)
    """What was written so far, without the token that ends an answer."""
    forced: list[int] = field(default_factory=list)
    """What comes next, whatever the model thinks."""
    is_finished: bool = False
    """Whether it came to an end, and was not cut at the largest number of tokens."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more is written."""
        return self.is_finished or len(self.tokens) == self.ending.max_new_tokens

    def append(self, token: int) -> None:
        """Add the next token, and the rest of the answer if the constraint leaves only one."""
        if token in self.ending.eos_token_ids:
            self.is_finished = True
            return
        self._write(token)
        if self.walk is not None and not self.is_finished:
            self.walk.advance(token)
            self.forced = self.forced[1:]
            if not self.forced:
                self.look_ahead()

    def look_ahead(self) -> None:
        """Ask the constraint what must come next, and write it if the answer ends with it."""
        if self.walk is None:
            return
        self.forced, is_end = self.walk.forced()
        if is_end:
            for token in self.forced:
                if self.is_done:
                    return
                self._write(token)
            self.is_finished = True

    def _write(self, token: int) -> None:
        self.tokens.append(token)
        self.is_finished = self.ending.is_stopped(self.tokens)


class FinishedRow(NamedTuple):
    """A row that is done."""

    sequence: int
    """Index of the sequence that it follows."""
    row: DecodingRow
    seconds: float
    """Its equal share of its batch's wall time."""


class RowDecoder:
    """How the answers of one call are written."""

    def __init__(self, ending: StopCriteria, sampling: Sampling, walk: Matcher | None):
        self._sampling = sampling
        self._choose = token_sampler(sampling)
        self._blank = DecodingRow(ending, walk)
        self._blank.look_ahead()
        while self._blank.forced and not self._blank.is_done:
            self._blank.append(self._blank.forced[0])
        self.opening = tuple(self._blank.tokens)
        """Tokens that all answers begin with, by the constraint: they go through the model with the prompt."""
        self.room = max(1, ending.max_new_tokens - len(self.opening))
        """Most tokens after the opening."""
        self.asked = sampling.samples
        """Answers to each prompt."""
        self.samples = sampling.samples if sampling.temperature > 0 else 1
        """Of these, how many differ."""

    def rows(self, sequence: "Tokens") -> list[DecodingRow]:
        """Return the answers to one sequence, a prompt with the opening behind it."""
        return [self.row(sequence, sample) for sample in range(self.samples)]

    def row(self, sequence: "Tokens", sample: int) -> DecodingRow:
        """Return one of them."""
        blank = self._blank
        return replace(
            blank,
            walk=None if blank.walk is None else blank.walk.copy(),
            generator=random_generator(self._sampling, sequence, sample) if self._sampling.temperature > 0 else None,
            tokens=[*blank.tokens],
            forced=[*blank.forced],
        )

    def write(self, logits: "Tensor", rows: Sequence[DecodingRow]) -> None:
        """Append the next token to each row that is not done, by the logits [B, vocabulary] of all of them."""
        asked = [place for place, row in enumerate(rows) if not row.is_done and not row.forced]
        picked = iter(
            self._pick(logits if len(asked) == len(rows) else logits[asked], [rows[place] for place in asked])
        )
        for row in rows:
            if not row.is_done:
                row.append(row.forced[0] if row.forced else next(picked))

    def _pick(self, logits: "Tensor", rows: Sequence[DecodingRow]) -> list[int]:
        if not rows:
            return []
        allowed = [row.walk.allowed() for row in rows if row.walk is not None]
        generators = [row.generator for row in rows if row.generator is not None]
        return self._choose(candidates(logits, allowed or None), generators)
