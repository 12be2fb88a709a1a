"""From predictions to the metrics of a split; `whether.metrics` has their units and directions."""

from collections.abc import Mapping, Sequence

from whether.metrics.metric import Metric, measure_quality
from whether.outputs.kinds import output_of
from whether.outputs.output import answers_and_targets
from whether.records import Prediction, Task, mean_known


def split_metrics(
    task: Task, predictions: Sequence[Prediction], metrics: Mapping[str, Metric]
) -> dict[str, float | None]:
    """Return quality by `metrics`, valid outputs and those read leniently, tokens and seconds, each a mean over the
    predictions of one split.

    A row that was not answered counts as wrong in quality and in `failed_rate`, and is left out of the other means.
    A mean of tokens is None where a server did not tell them for every prediction, and retrieval recall where no
    passages were shown.
    """
    quality = measure_quality(metrics, task, *answers_and_targets(output_of(task), predictions))
    answered = [prediction for prediction in predictions if not prediction.error]
    return quality | {
        "failed_rate": (len(predictions) - len(answered)) / len(predictions),
        "valid_rate": mean_known([prediction.valid for prediction in answered]) if answered else None,
        "lenient_rate": mean_known([bool(row.leniencies) for row in answered]) if answered else None,
        "input_tokens": mean_known([prediction.input_tokens for prediction in answered]) if answered else None,
        "computed_tokens": mean_known([prediction.computed_tokens for prediction in answered]) if answered else None,
        "output_tokens": mean_known([prediction.output_tokens for prediction in answered]) if answered else None,
        "retrieval_recall": mean_known([prediction.retrieved for prediction in predictions]),
        "seconds_per_request": mean_known([prediction.seconds for prediction in answered]) if answered else None,
    }


def latency_metrics(seconds: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile (linear interpolation) of the wall times of requests sent one at a time;
    nothing where there are none."""
    import numpy as np

    if not seconds:
        return {}
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"latency_p50": float(p50), "latency_p95": float(p95)}
