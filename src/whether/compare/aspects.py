"""What people ask when they choose, and which numbers of an arm answer it."""

from whether.compare.measure import ROBUSTNESS
from whether.records import Aspect, Verdict

ASPECTS = (
    Aspect("How good are the answers?", ["accuracy", "exact_match", "macro_f1"]),
    Aspect("Do they have the form that the task asks for?", ["valid_rate"]),
    Aspect("How far is its behaviour from that of base?", ["changed_outputs"]),
    Aspect(
        "Does it hold under harmless changes of the prompt, and over repeated samples?",
        list(ROBUSTNESS),
        'make run ARGS="robustness=default"',
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
        "make run ARGS=\"benchmark.text=<JSONL with 'input'>\" for perplexity",
    ),
    Aspect(
        "What does retrieval add?",
        ["retrieval_recall"],
        'make run ARGS="task=handbook prompt=[zero_shot,retrieval]"; the arms\' difference is in the comparisons',
    ),
    Aspect(
        "Is it good at what it was not tuned for?",
        ["flexibility", "unseen_labels"],
        'make run ARGS="task@benchmark.other=fever", with another label task than the run\'s own, and'
        " task.unseen_labels=[<label>] for labels that come later",
    ),
)


def aspects(verdict: Verdict) -> list[Aspect]:
    """Return every question with those of its metrics that the task has."""
    measured = {name for arm in verdict.arms.values() for name in arm.metrics}
    return [
        Aspect(aspect.question, [name for name in aspect.metrics if name in measured], aspect.otherwise)
        for aspect in ASPECTS
    ]
