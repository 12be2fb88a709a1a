"""TF-IDF of words and characters, as arrays and JSON: what `linear` and `nearest` compare texts by."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whether.errors import DataError
from whether.records import read_json, write_json

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FILE = "vocabulary.json"
KINDS: dict[str, dict[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}
"""Kind of term → how scikit-learn's `TfidfVectorizer` takes texts apart; counts are dampened by 1 + log."""


class TextVectors:
    """The vectors of texts over the terms of the training texts, each kind of term of length 1."""

    def __init__(self) -> None:
        """Make one that knows no term yet."""
        self._vectorizers: dict[str, Any] = {}

    @property
    def terms(self) -> int:
        """Number of terms, the length of a vector."""
        return sum(len(one.vocabulary_) for one in self._vectorizers.values())

    def fit(self, texts: Sequence[str]) -> "csr_matrix":
        """Learn the terms of `texts`; return their vectors, shape (n, terms).

        A kind that finds no term, as words in texts of emoji do, is left out. Raises DataError where both find none.
        """
        made = {name: _vectorizer(settings) for name, settings in KINDS.items()}
        self._vectorizers = {name: one for name, one in made.items() if any(map(one.build_analyzer(), texts))}
        if not self._vectorizers:
            raise DataError(
                "every training input is blank: name the columns that hold the text in task.inputs, or leave this"
                " baseline out (baseline=[])"
            )
        return _joined([one.fit_transform(texts) for one in self._vectorizers.values()])

    def of(self, texts: Sequence[str]) -> "csr_matrix":
        """Return the vectors of `texts`, shape (n, terms); terms that are not known count nothing."""
        from scipy.sparse import csr_matrix

        if not texts:
            return csr_matrix((0, self.terms))
        return _joined([one.transform(texts) for one in self._vectorizers.values()])

    def save(self, folder: Path) -> None:
        """Write terms and their weights as JSON."""
        found = {
            name: {"terms": one.get_feature_names_out().tolist(), "idf": one.idf_.tolist()}
            for name, one in self._vectorizers.items()
        }
        write_json(folder / FILE, found)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        import numpy as np

        for name, kept in read_json(folder / FILE, dict[str, dict[str, Any]]).items():
            one = _vectorizer(KINDS[name] | {"vocabulary": {term: place for place, term in enumerate(kept["terms"])}})
            one.idf_ = np.asarray(kept["idf"])
            self._vectorizers[name] = one


def _vectorizer(settings: dict[str, Any]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, **settings)


def _joined(parts: Sequence[Any]) -> "csr_matrix":
    from scipy.sparse import hstack

    return hstack(parts, format="csr")
