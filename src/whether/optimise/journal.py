"""Scores that were paid for, kept until they are used: a killed search asks nothing again."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class ScoredExample(NamedTuple):
    """How a candidate did on an example."""

    example: str
    score: float
    tokens: int | None
    output: str = ""
    """What the model wrote."""


class ScoreJournal:
    """A file of JSON lines: candidate (a hash), wall seconds and scores of a call."""

    def __init__(self, path: Path):
        self._path = path
        self.seconds = 0.0
        """Wall time of all calls that are kept."""
        self._known: dict[str, dict[str, ScoredExample]] = defaultdict(dict)
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                call = json.loads(line)
            except ValueError:  # the end of a line that a kill cut off
                continue
            self._keep(call["candidate"], call["seconds"], [ScoredExample(*row) for row in call["scores"]])

    def known(self, candidate: str) -> dict[str, ScoredExample]:
        """Return what is known of a candidate, by example."""
        return self._known[candidate]

    @property
    def evaluations(self) -> int:
        """Requests that are kept."""
        return sum(map(len, self._known.values()))

    def add(self, candidate: str, seconds: float, scores: Iterable[ScoredExample]) -> None:
        """Keep the scores of a call, on disk before anything follows from them."""
        rows = list(scores)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            # A line of its own, whatever a kill left before it.
            stream.write("\n" + json.dumps({"candidate": candidate, "seconds": seconds, "scores": rows}))
            stream.flush()
            os.fsync(stream.fileno())
        self._keep(candidate, seconds, rows)

    def _keep(self, candidate: str, seconds: float, rows: Iterable[ScoredExample]) -> None:
        self.seconds += seconds
        self._known[candidate] |= {row.example: row for row in rows}
