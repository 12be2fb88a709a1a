"""From predictions to the metrics of a split; `whether.metrics.catalogue` has their units and directions."""

from collections.abc import Sequence
from statistics import fmean

from whether.outputs.kinds import output_of
from whether.records import Prediction, Task, mean_known


def split_metrics(task: Task, predictions: Sequence[Prediction]) -> dict[str, float | None]:
    """Return quality, format adherence, tokens and seconds, each a mean over the predictions of one split.

    A mean of tokens is None where a server did not tell them for every prediction, and retrieval recall where no
    passages were shown.
    """
    return _quality(task, predictions) | {
        "valid_rate": fmean(prediction.valid for prediction in predictions),
        "input_tokens": mean_known([prediction.input_tokens for prediction in predictions]),
        "computed_tokens": mean_known([prediction.computed_tokens for prediction in predictions]),
        "output_tokens": mean_known([prediction.output_tokens for prediction in predictions]),
        "retrieval_recall": mean_known([prediction.retrieved for prediction in predictions]),
        "seconds_per_request": fmean(prediction.seconds for prediction in predictions),
    }


def latency_metrics(seconds: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile (linear interpolation) of the wall times of requests sent alone."""
    import numpy as np

    p50, p95 = np.percentile(seconds, [50, 95])
    return {"latency_p50": float(p50), "latency_p95": float(p95)}


def _quality(task: Task, predictions: Sequence[Prediction]) -> dict[str, float | None]:
    score = fmean(prediction.score for prediction in predictions)
    names = output_of(task).metrics
    found: dict[str, float | None] = {names[0]: score}
    return found | {"macro_f1": _macro_f1(task, predictions)} if "macro_f1" in names else found


def _macro_f1(task: Task, predictions: Sequence[Prediction]) -> float:
    """An invalid answer is none of the labels; a label that is neither asked for nor answered has no F1."""
    import numpy as np
    from sklearn.metrics import f1_score

    targets = [prediction.target for prediction in predictions]
    answers = [prediction.answer if prediction.answer is not None else "" for prediction in predictions]
    return float(f1_score(targets, answers, labels=task.labels, average="macro", zero_division=np.nan))
