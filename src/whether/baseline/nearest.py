"""`nearest`: the answer of the training row whose input is most alike, copied."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whether.baseline.data import BaselineData
from whether.baseline.words import TextVectors
from whether.records import read_json, write_json

ROWS = "rows.json"
ANSWERED_AT_ONCE = 256
"""Inputs that are compared with all training rows together, which bounds the memory for it."""


class Nearest:
    """Copies the answer of the nearest training input, by the cosine of TF-IDF of words and characters."""

    def __init__(self) -> None:
        """Make one that knows no row yet."""
        self._vectors = TextVectors()
        self._texts: list[str] = []
        self._targets: list[str] = []
        self._known: Any = None

    @property
    def parameters(self) -> int:
        """None is fitted: it looks its answers up."""
        return 0

    def fit(self, data: BaselineData) -> None:
        """Keep the training rows."""
        self._texts, self._targets = data.train.texts, data.train.targets
        self._known = self._vectors.fit(self._texts)

    def answer(self, texts: Sequence[str]) -> list[str]:
        """Return the answer of the nearest row to each input; of equally near ones that of the first."""
        places: list[int] = []
        for start in range(0, len(texts), ANSWERED_AT_ONCE):
            alike = self._vectors.of(texts[start : start + ANSWERED_AT_ONCE]) @ self._known.T
            places += alike.toarray().argmax(axis=1).tolist()
        return [self._targets[place] for place in places]

    def save(self, folder: Path) -> None:
        """Write the rows and their vocabulary as JSON."""
        self._vectors.save(folder)
        write_json(folder / ROWS, {"texts": self._texts, "targets": self._targets})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        rows = read_json(folder / ROWS, dict[str, list[str]])
        self._texts, self._targets = rows["texts"], rows["targets"]
        self._vectors.load(folder)
        self._known = self._vectors.of(self._texts)
