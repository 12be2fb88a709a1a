"""The metrics of quality that come with the project: what an example adds up to, and what the sums mean.

conf/metric/<name>.yaml says how each of them reads. An answer is None where nothing valid was found; a target reads as
an equal answer does.
"""

from typing import Any

import numpy as np

from whether.metrics.metric import Floats
from whether.records import Task


def equal(task: Task, answer: str | None, target: str) -> list[float]:  # noqa: ARG001
    """Return whether an answer is right: the totals of accuracy and exact match."""
    return [float(answer == target)]


def label_counts(task: Task, answer: str | None, target: str) -> Floats:
    """Return for each label whether it was answered and right, answered, and asked for; shape (3 * labels,)."""
    places = [task.labels.index(label) if label in task.labels else None for label in (answer, target)]
    counts = np.zeros((3, len(task.labels)))
    for row, place in enumerate(places, start=1):
        if place is not None:
            counts[row, place] = 1
            counts[0, place] = answer == target
    return counts.reshape(-1)


def macro_f1(totals: Floats, n: Any) -> Any:  # noqa: ARG001
    """Return the mean over labels of their F1, from sums of `label_counts`, shape (..., 3 * labels).

    Labels that neither occur nor are answered have no F1 and are left out.
    """
    right, answered, asked = np.moveaxis(totals.reshape(*totals.shape[:-1], 3, -1), -2, 0)
    both = answered + asked
    f1 = np.divide(2 * right, both, out=np.zeros(both.shape), where=both > 0)
    return f1.sum(-1) / (both > 0).sum(-1)


def label_effective_n(totals: Floats, n: int) -> float:  # noqa: ARG001
    """Return labels × the harmonic mean of their counts: how many examples an average over labels is worth."""
    from scipy.stats import hmean

    asked = totals.reshape(3, -1)[2]
    counts = asked[asked > 0]
    return float(len(counts) * hmean(counts))
