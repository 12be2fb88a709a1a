"""From predictions to the metrics of a split; `whether.metrics` has their units and directions."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from whether.metrics.metric import Metric, measure_quality
from whether.outputs.kinds import output_of
from whether.outputs.output import answers_and_targets
from whether.records import Prediction, Task, mean_known


def split_metrics(
    task: Task, predictions: Sequence[Prediction], metrics: Mapping[str, Metric]
) -> dict[str, float | None]:
    """Return quality by `metrics`, valid outputs and those read leniently, tokens and seconds, each a mean over the
    predictions of one split.

    A mean of tokens is None where a server did not tell them for every prediction, and retrieval recall where no
    passages were shown.
    """
    quality = measure_quality(metrics, task, *answers_and_targets(output_of(task), predictions))
    return quality | {
        "valid_rate": fmean(prediction.valid for prediction in predictions),
        "lenient_rate": fmean(bool(prediction.leniencies) for prediction in predictions),
        "input_tokens": mean_known([prediction.input_tokens for prediction in predictions]),
        "computed_tokens": mean_known([prediction.computed_tokens for prediction in predictions]),
        "output_tokens": mean_known([prediction.output_tokens for prediction in predictions]),
        "retrieval_recall": mean_known([prediction.retrieved for prediction in predictions]),
        "seconds_per_request": fmean(prediction.seconds for prediction in predictions),
    }


def latency_metrics(seconds: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile (linear interpolation) of the wall times of requests sent one at a time."""
    import numpy as np

    p50, p95 = np.percentile(seconds, [50, 95])
    return {"latency_p50": float(p50), "latency_p95": float(p95)}
