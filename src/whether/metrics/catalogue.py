"""What people ask when they choose, and which numbers of an arm answer it."""

from typing import NamedTuple

from whether.records import Aspect, Verdict
from whether.records.measurement import Measurement


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
        "fraction", True, "share of test examples whose answer is in the passages that the prompt shows"
    ),
    "sensitivity_spread": MetricInfo(
        "fraction", False, "best minus worst score over formats of the prompt that keep its meaning, on a part of dev"
    ),
    "sensitivity_worst": MetricInfo("fraction", True, "score in the worst of these formats"),
    "sensitivity_deviation": MetricInfo("fraction", False, "standard deviation of the score over these formats"),
    "consistency": MetricInfo("fraction", True, "share of pairs of sampled answers to an example that are equal"),
    "majority_score": MetricInfo("fraction", True, "score of the answer that was sampled most often"),
    "answer_entropy": MetricInfo("bits", False, "entropy of the sampled answers to an example"),
    "batch_invariance": MetricInfo(
        "fraction", True, "share of answers that stay the same when they are asked again in a batch with other requests"
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
        "fraction", True, "share of test examples that base answers differently with the same prompt: customisation"
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


METRIC_NAMES = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "macro_f1": "macro-F1",
    "valid_rate": "valid outputs",
    "input_tokens": "input tokens",
    "computed_tokens": "computed tokens",
    "output_tokens": "output tokens",
    "retrieval_recall": "retrieval recall",
    "sensitivity_spread": "spread over formats",
    "sensitivity_worst": "worst format",
    "sensitivity_deviation": "deviation over formats",
    "consistency": "samples agree",
    "majority_score": "majority of samples",
    "answer_entropy": "entropy of samples",
    "batch_invariance": "batch invariance",
    "seconds_per_request": "time in a batch",
    "latency_p50": "latency p50",
    "latency_p95": "latency p95",
    "usd_per_1k": "USD per 1,000",
    "usd_per_month": "USD per month",
    "usd_to_build": "USD to build",
    "usd_to_retrain": "USD to retrain",
    "seconds_to_build": "time to build",
    "labels_to_build": "labels to build",
    "changed_outputs": "answers changed",
    "retention": "retention",
    "retention_change": "retention change",
    "flexibility": "another task",
    "unseen_labels": "unseen labels",
    "perplexity": "perplexity",
    "tokens_per_second": "tokens/s",
    "peak_memory": "peak memory",
    "disk": "disk",
}
"""Metric → how it reads."""


ROBUSTNESS = (
    "sensitivity_spread", "sensitivity_worst", "sensitivity_deviation", "consistency", "majority_score",
    "answer_entropy", "batch_invariance",
)  # fmt: skip
"""Metrics that a part of dev gives, by their names in `Robustness`."""


ASPECTS = (
    Aspect("How good are the answers?", ["accuracy", "exact_match", "macro_f1"]),
    Aspect("Do they have the form that the task asks for?", ["valid_rate"]),
    Aspect("How far is its behaviour from that of base?", ["changed_outputs"]),
    Aspect(
        "Does it hold under harmless changes of the prompt, and over repeated samples?",
        list(ROBUSTNESS),
        "whether run robustness=default",
    ),
    Aspect("What does it cost to build?", ["usd_to_build", "labels_to_build"]),
    Aspect("How soon is it ready?", ["seconds_to_build"]),
    Aspect("What does it cost to run?", ["usd_per_1k", "usd_per_month", "computed_tokens", "output_tokens"]),
    Aspect("How long does a request take?", ["latency_p50", "latency_p95"]),
    Aspect("What does a retraining cost?", ["usd_to_retrain"]),
    Aspect("What does it need to run?", ["peak_memory", "disk", "tokens_per_second"]),
    Aspect(
        "Does the model keep its general ability?",
        ["retention", "retention_change", "perplexity"],
        "`whether run benchmark.text=<JSONL with 'input'>` for perplexity",
    ),
    Aspect(
        "What does retrieval add?",
        ["retrieval_recall"],
        "`whether run task=handbook prompt=[zero_shot,retrieval]`; the arms' difference is in the comparisons",
    ),
    Aspect(
        "Is it good at what it was not tuned for?",
        ["flexibility", "unseen_labels"],
        "`whether run task@benchmark.other=fever`, with another label task than the run's own, and"
        " task.unseen_labels=[<label>] for labels that come later",
    ),
)


def metric_name(metric: str) -> str:
    """Return how a metric reads; its key in words where the catalogue lacks it, as in a verdict of another version."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def measurement(
    metric: str, value: float | None, ci: tuple[float, float] | None = None, n: int | None = None
) -> Measurement:
    """Return a `Measurement` of a metric in `METRICS`, with its unit and direction filled in."""
    info = METRICS[metric]
    low, high = ci if ci else (None, None)
    return Measurement(value, info.unit, info.higher_is_better, low, high, n)


def aspects(verdict: Verdict) -> list[Aspect]:
    """Return every question with those of its metrics that the task has."""
    measured = {name for arm in verdict.arms.values() for name in arm.metrics}
    return [
        Aspect(aspect.question, [name for name in aspect.metrics if name in measured], aspect.how_to_measure)
        for aspect in ASPECTS
    ]
