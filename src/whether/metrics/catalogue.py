"""What the stages measure about an arm, how each number reads, and which of them answer what people ask."""

from collections.abc import Mapping

from whether.records import Aspect, Measurement, MetricInfo, Verdict

METRICS: dict[str, MetricInfo] = {
    "valid_rate": MetricInfo(
        "valid outputs", "fraction", True, "share of outputs that have the form the task asks for, to the letter"
    ),
    "lenient_rate": MetricInfo(
        "read leniently",
        "fraction",
        False,
        "share of outputs of another form, such as `**refund**`, whose answer was read all the same",
    ),
    "failed_rate": MetricInfo(
        "not answered",
        "fraction",
        False,
        "share of rows that were not answered, such as by a content filter; they count as wrong",
    ),
    "input_tokens": MetricInfo("input tokens", "tokens/request", False, "tokens of the whole prompt"),
    "computed_tokens": MetricInfo(
        "computed tokens", "tokens/request", False, "prompt tokens left to compute when the shared prefix is cached"
    ),
    "output_tokens": MetricInfo("output tokens", "tokens/request", False, "tokens of the answer"),
    "seconds_per_request": MetricInfo(
        "time in a batch", "seconds", False, "wall time of a request in a batch, on the machine that measured"
    ),
    "retrieval_recall": MetricInfo(
        "retrieval recall",
        "fraction",
        True,
        "share of test examples whose answer is in the passages that the prompt shows",
    ),
    "sensitivity_spread": MetricInfo(
        "spread over formats",
        "fraction",
        False,
        "best minus worst score over formats of the prompt that keep its meaning, on a part of dev",
    ),
    "sensitivity_worst": MetricInfo("worst format", "fraction", True, "score in the worst of these formats"),
    "sensitivity_deviation": MetricInfo(
        "deviation over formats", "fraction", False, "standard deviation of the score over these formats"
    ),
    "consistency": MetricInfo(
        "samples agree", "fraction", True, "share of pairs of sampled answers to an example that are equal"
    ),
    "majority_score": MetricInfo(
        "majority of samples", "fraction", True, "score of the answer that was sampled most often"
    ),
    "answer_entropy": MetricInfo("entropy of samples", "bits", False, "entropy of the sampled answers to an example"),
    "batch_invariance": MetricInfo(
        "batch invariance",
        "fraction",
        True,
        "share of answers that stay the same when they are asked again in a batch with other requests",
    ),
    "latency_p50": MetricInfo("latency p50", "seconds", False, "median wall time of requests sent one after another"),
    "latency_p95": MetricInfo(
        "latency p95", "seconds", False, "95th percentile of the wall time of requests sent one after another"
    ),
    "usd_per_1k": MetricInfo("USD per 1,000", "USD", False, "running cost of 1,000 requests by the price list"),
    "usd_per_month": MetricInfo(
        "USD per month",
        "USD",
        False,
        "running cost at the policy's volume and the cost to build spread over its months",
    ),
    "usd_to_build": MetricInfo(
        "USD to build", "USD", False, "labels and machine time spent before the first request, by the price list"
    ),
    "usd_to_retrain": MetricInfo(
        "USD to retrain", "USD", False, "machine time of training and search once more, labels left out"
    ),
    "seconds_to_build": MetricInfo(
        "time to build", "seconds", False, "machine time of training and search before the first request"
    ),
    "labels_to_build": MetricInfo(
        "labels to build", "examples", False, "labelled examples that it needs, dev and test left out"
    ),
    "changed_outputs": MetricInfo(
        "answers changed",
        "fraction",
        True,
        "share of test examples that base answers differently with the same prompt: customisation",
    ),
    "retention": MetricInfo("retention", "fraction", True, "mean accuracy on the retention suite: general ability"),
    "retention_change": MetricInfo(
        "retention change", "fraction", True, "retention minus that of the base checkpoint", is_change=True
    ),
    "flexibility": MetricInfo(
        "another task",
        "fraction",
        True,
        "accuracy on another label task, for which no checkpoint was tuned, plain prompt",
    ),
    "unseen_labels": MetricInfo(
        "unseen labels", "fraction", True, "accuracy on rows whose labels no training saw; the instruction names them"
    ),
    "perplexity": MetricInfo("perplexity", "per token", False, "perplexity on held-out general text"),
    "tokens_per_second": MetricInfo("tokens/s", "tokens/second", True, "prompt tokens read a second in batches"),
    "peak_memory": MetricInfo("peak memory", "bytes", False, "peak resident memory of the process that serves"),
    "disk": MetricInfo(
        "disk", "bytes", False, "size of what has to be stored for the checkpoint beyond the base model"
    ),
}
"""What the stages measure. Metrics of answers are settings: conf/metric."""


ROBUSTNESS = (
    "sensitivity_spread", "sensitivity_worst", "sensitivity_deviation", "consistency", "majority_score",
    "answer_entropy", "batch_invariance",
)  # fmt: skip
"""Metrics that a part of dev gives, by their names in `Robustness`."""


ASPECTS = (
    Aspect("Do they have the form that the task asks for?", ["valid_rate", "lenient_rate"]),
    Aspect("Is every row answered?", ["failed_rate"]),
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


def measurement(
    metric: str, value: float | None, ci: tuple[float, float] | None = None, n: int | None = None
) -> Measurement:
    """Return a `Measurement` of a metric in `METRICS`, with its unit and direction filled in."""
    info = METRICS[metric]
    low, high = ci if ci else (None, None)
    return Measurement(value, info.unit, info.higher_is_better, low, high, n)


def catalogue(verdict: Verdict) -> dict[str, MetricInfo]:
    """Return how every metric of a verdict reads: what stages measure, and its metrics of answers.

    A verdict of another version can have further ones: of those no more is known than unit and direction.
    """
    measured = {name: row for arm in verdict.arms.values() for name, row in arm.metrics.items()}
    further = {
        name: MetricInfo(name.replace("_", " "), row.unit, row.higher_is_better, "")
        for name, row in measured.items()
        if name not in METRICS
    }
    return METRICS | further | verdict.metrics


def quality_names(verdict: Verdict) -> list[str]:
    """Return the metrics of answers that a verdict has, in the order of its settings."""
    return [*(verdict.metrics or (name for name in _arm(verdict) if name not in METRICS))]


def aspects(verdict: Verdict) -> list[Aspect]:
    """Return every question with those of its metrics that the task has; first what metrics of answers tell."""
    measured = {name for arm in verdict.arms.values() for name in arm.metrics}
    asked: dict[str, list[str]] = {}
    for name, info in verdict.metrics.items():
        asked.setdefault(info.question, []).append(name)
    return [Aspect(question, names) for question, names in asked.items()] + [
        Aspect(aspect.question, [name for name in aspect.metrics if name in measured], aspect.how_to_measure)
        for aspect in ASPECTS
    ]


def _arm(verdict: Verdict) -> Mapping[str, Measurement]:
    return next(iter(verdict.arms.values())).metrics if verdict.arms else {}
