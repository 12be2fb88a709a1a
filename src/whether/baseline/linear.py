"""`linear`: logistic regression on TF-IDF of words and characters."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whether.baseline.data import BaselineData
from whether.baseline.words import TextVectors
from whether.errors import DataError
from whether.records import read_json, write_json

WEIGHTS = "linear.safetensors"
LABELS = "labels.json"


class Linear:
    """A logistic regression of the labels; its regularisation is the one under which dev is most likely."""

    def __init__(self, *, inverse_regularisation: Sequence[float] = (0.1, 1.0, 10.0, 100.0, 1000.0)):
        """`inverse_regularisation` is what scikit-learn calls C: the values to choose from."""
        self._strengths = sorted(inverse_regularisation)
        self._vectors = TextVectors()
        self._labels: list[str] = []
        self._weights: Any = None
        self._intercepts: Any = None

    @property
    def parameters(self) -> int:
        """Weights and intercepts."""
        return int(self._weights.size + self._intercepts.size)

    def fit(self, data: BaselineData) -> None:
        """Fit. Raises DataError where the training rows have a single label."""
        if len(set(data.train.targets)) < 2:
            raise DataError(
                f"every training row has the same answer, {data.train.targets[0]!r}: a classifier needs two labels or"
                " more; label rows with other answers, or leave it out (baseline=[])"
            )
        train = self._vectors.fit(data.train.texts)
        dev = self._vectors.of(data.dev.texts)
        fitted = (_regression(strength, data, train) for strength in self._strengths)  # one at a time: they are large
        chosen = min(fitted, key=lambda one: _dev_loss(one, dev, data))  # of equal ones the strongest regularisation
        self._labels = [str(label) for label in chosen.classes_]
        self._weights, self._intercepts = chosen.coef_, chosen.intercept_

    def answer(self, texts: Sequence[str]) -> list[str]:
        """Return the most likely label of each input."""
        scores = self._vectors.of(texts) @ self._weights.T + self._intercepts
        if scores.shape[1] == 1:  # of two labels scikit-learn keeps the second one's
            return [self._labels[int(score > 0)] for (score,) in scores]
        return [self._labels[place] for place in scores.argmax(axis=1)]

    def save(self, folder: Path) -> None:
        """Write weights as safetensors, labels and vocabulary as JSON."""
        import numpy as np
        from safetensors.numpy import save_file

        self._vectors.save(folder)
        write_json(folder / LABELS, self._labels)
        tensors = {"weights": self._weights, "intercepts": self._intercepts}
        # safetensors writes an array's memory as it lies, and scikit-learn's weights may lie by columns.
        save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, folder / WEIGHTS)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        self._vectors.load(folder)
        self._labels = read_json(folder / LABELS, list[str])
        tensors = load_file(folder / WEIGHTS)
        self._weights, self._intercepts = tensors["weights"], tensors["intercepts"]


def _regression(strength: float, data: BaselineData, train: Any) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=strength, max_iter=1000, class_weight="balanced" if data.balanced else None, random_state=data.seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a weakly regularised one is as good a candidate
        return model.fit(train, data.train.targets)


def _dev_loss(model: Any, dev: Any, data: BaselineData) -> float:
    """Return the mean negative log-likelihood of dev, of rows whose label was seen in training."""
    import numpy as np
    from sklearn.utils.class_weight import compute_sample_weight

    place = {label: number for number, label in enumerate(model.classes_)}
    rows = [number for number, target in enumerate(data.dev.targets) if target in place]
    if not rows:
        return 0.0
    targets = [data.dev.targets[number] for number in rows]
    likely = model.predict_log_proba(dev[rows])[range(len(rows)), [place[target] for target in targets]]
    weights = compute_sample_weight("balanced", targets) if data.balanced else None
    return -float(np.average(likely, weights=weights))
