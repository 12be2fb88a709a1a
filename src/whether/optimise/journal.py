"""Scores that were paid for, kept until they are used: a killed search asks nothing again."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from whether.records import append_record, read_journal


class ScoredExample(NamedTuple):
    """How a candidate did on an example."""

    example: str
    score: float
    tokens: int | None
    output: str = ""
    """What the model wrote."""


@dataclass(frozen=True)
class ScoredCall:
    """The scores of one call: a line of the journal."""

    candidate: str
    """A hash."""
    seconds: float
    """Wall time."""
    scores: list[ScoredExample]


class ScoreJournal:
    """What calls have given, in a file (`whether.records.journal`)."""

    def __init__(self, path: Path):
        self._path = path
        self.seconds = 0.0
        """Wall time of all calls that are kept."""
        self._known: dict[str, dict[str, ScoredExample]] = defaultdict(dict)
        for call in read_journal(path, ScoredCall):
            self._keep(call)

    def known(self, candidate: str) -> dict[str, ScoredExample]:
        """Return what is known of a candidate, by example."""
        return self._known[candidate]

    @property
    def evaluations(self) -> int:
        """Requests that are kept."""
        return sum(map(len, self._known.values()))

    def add(self, candidate: str, seconds: float, scores: Iterable[ScoredExample]) -> None:
        """Keep the scores of a call, on disk before anything follows from them."""
        call = ScoredCall(candidate, seconds, list(scores))
        append_record(self._path, call, sync=True)
        self._keep(call)

    def _keep(self, call: ScoredCall) -> None:
        self.seconds += call.seconds
        self._known[call.candidate] |= {row.example: row for row in call.scores}
