"""How a metric is read: its unit, which way is better, and a value with its interval."""

from dataclasses import dataclass
from typing import NamedTuple


class MetricInfo(NamedTuple):
    """How to read a metric: its unit, which way is better, and what it is in a sentence."""

    unit: str
    higher_is_better: bool
    description: str


METRICS: dict[str, MetricInfo] = {
    "accuracy": MetricInfo("fraction", True, "share of examples whose label is right; an invalid answer is wrong"),
    "exact_match": MetricInfo("fraction", True, "share of examples whose answer equals the target"),
    "macro_f1": MetricInfo("fraction", True, "F1 of each label, averaged over labels"),
    "valid_rate": MetricInfo("fraction", True, "share of outputs that have the form the task asks for"),
    "input_tokens": MetricInfo("tokens/request", False, "tokens of the whole prompt"),
    "computed_tokens": MetricInfo(
        "tokens/request", False, "prompt tokens left to compute when the shared prefix is cached"
    ),
    "output_tokens": MetricInfo("tokens/request", False, "tokens of the answer"),
    "seconds_per_request": MetricInfo(
        "seconds", False, "wall time of a request in a batch, on the machine that measured"
    ),
    "retrieval_recall": MetricInfo(
        "fraction", True, "share of test examples whose answer stands in the passages that the prompt shows"
    ),
    "sensitivity_spread": MetricInfo(
        "fraction", False, "best minus worst score over formats of the prompt that keep its meaning, on a part of dev"
    ),
    "sensitivity_worst": MetricInfo("fraction", True, "score in the worst of these formats"),
    "sensitivity_deviation": MetricInfo("fraction", False, "standard deviation of the score over these formats"),
    "consistency": MetricInfo("fraction", True, "share of pairs of sampled answers to an example that are equal"),
    "majority_score": MetricInfo("fraction", True, "score of the answer that was sampled most often"),
    "answer_entropy": MetricInfo("bits", False, "entropy of the sampled answers to an example"),
    "repeatability": MetricInfo(
        "fraction", True, "share of answers that stay the same when they are asked again beside other requests"
    ),
    "latency_p50": MetricInfo("seconds", False, "median wall time of a request sent alone"),
    "latency_p95": MetricInfo("seconds", False, "95th percentile of the wall time of a request sent alone"),
    "usd_per_1k": MetricInfo("USD", False, "running cost of 1,000 requests by the price list"),
    "usd_per_month": MetricInfo(
        "USD", False, "running cost at the policy's volume and the cost to build spread over its months"
    ),
    "usd_to_build": MetricInfo(
        "USD", False, "labels and machine time spent before the first request, by the price list"
    ),
    "usd_to_retrain": MetricInfo("USD", False, "machine time of training and search once more, labels left out"),
    "seconds_to_build": MetricInfo("seconds", False, "machine time of training and search before the first request"),
    "labels_to_build": MetricInfo("examples", False, "labelled examples that it needs, dev and test left out"),
    "changed_outputs": MetricInfo(
        "fraction", True, "share of test examples that base answers otherwise with the same prompt: customisation"
    ),
    "retention": MetricInfo("fraction", True, "mean accuracy on the retention suite: general ability"),
    "retention_change": MetricInfo("fraction", True, "retention minus that of the base checkpoint"),
    "flexibility": MetricInfo(
        "fraction", True, "accuracy on another label task, for which no checkpoint was tuned, plain prompt"
    ),
    "unseen_labels": MetricInfo(
        "fraction",
        True,
        "accuracy on rows whose labels no training saw; the instruction names them",
    ),
    "perplexity": MetricInfo("per token", False, "perplexity on held-out general text"),
    "tokens_per_second": MetricInfo("tokens/second", True, "prompt tokens read a second in batches"),
    "tokens_per_second_decode": MetricInfo("tokens/second", True, "answer tokens written a second in batches"),
    "peak_memory": MetricInfo("bytes", False, "peak resident memory of the process that serves"),
    "disk": MetricInfo("bytes", False, "size of what has to be stored for the checkpoint beyond the base model"),
}


@dataclass(frozen=True)
class Measurement:
    """A number with what is needed to judge it. `value` is None where it was not measured, never 0."""

    value: float | None
    unit: str
    higher_is_better: bool
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    """Observations behind the value."""


def measurement(
    metric: str, value: float | None, ci: tuple[float, float] | None = None, n: int | None = None
) -> Measurement:
    """Return a `Measurement` of a metric in `METRICS`, with its unit and direction filled in."""
    info = METRICS[metric]
    low, high = ci if ci else (None, None)
    return Measurement(value, info.unit, info.higher_is_better, low, high, n)
