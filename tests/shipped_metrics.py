"""The metrics of conf/metric, for tests without composed settings, and totals of answers that are codes of labels."""

from pathlib import Path

import numpy as np
import yaml

from whether.config import MetricConfig
from whether.metrics.metric import Metric, metric_of
from whether.records import Task

CONFIGS = {
    file.stem: MetricConfig(**yaml.safe_load(file.read_text()))
    for file in sorted((Path(__file__).parents[1] / "conf" / "metric").glob("*.yaml"))
}


def metric(name: str) -> Metric:
    return metric_of(name, CONFIGS[name])


MACRO_F1 = metric("macro_f1")


def label_totals(answers: np.ndarray, targets: np.ndarray, labels: int | None = None) -> np.ndarray:
    """Totals of macro-F1, shape (..., n, k), of codes of labels of shape (..., n); -1 is an answer that is no label."""
    names = [f"label {code}" for code in range(labels or int(max(answers.max(), targets.max())) + 1)]
    task = Task("codes", "label", None, "", "", names, None, None, 4)
    asked = [names[code] for code in targets]
    rows = [
        MACRO_F1.table(task, [names[code] if code >= 0 else None for code in row], asked)
        for row in answers.reshape(-1, answers.shape[-1])
    ]
    return np.reshape(rows, (*answers.shape, -1))
