"""Hard limits on metrics (`policy.constraints`): which metric can have which limit, and how a broken one reads."""

from whether.config import ConstraintConfig, TaskConfig
from whether.config.renamed import new_constraint
from whether.errors import ConfigError, near_matches
from whether.metrics.catalogue import METRIC_NAMES, METRICS
from whether.metrics.format import format_value

_QUALITY = ("accuracy", "exact_match", "macro_f1")
_NOUNS = {
    "consistency": "agreement of samples",
    "majority_score": "score of the most frequent sample",
    "sensitivity_worst": "score in the worst format",
    "changed_outputs": "share of changed answers",
    "flexibility": "accuracy on another task",
    "unseen_labels": "accuracy on unseen labels",
}
"""Metrics whose name in a table does not read well in a sentence."""


def check_constraint(metric: str, constraint: ConstraintConfig | None, task: TaskConfig) -> None:
    """Check the limit on a metric against the catalogue. A limit that is not set needs a metric that exists.

    Raises ConfigError for a metric that no arm of the task has, and for a limit on the wrong side or out of range.
    """
    where = f"policy.constraints.{metric}"
    of_labels = () if "accuracy" in task.quality_metrics else ("unseen_labels",)
    known = METRIC_NAMES.keys() - ({*_QUALITY, *of_labels} - {*task.quality_metrics})
    is_set = constraint is not None and (constraint.min is not None or constraint.max is not None)
    if metric not in METRIC_NAMES or (is_set and metric not in known):
        new = new_constraint(metric)
        unknown = f"{where}: arms of a {task.output} task have no such metric{near_matches(metric, known)}"
        raise ConfigError(f"{where} is now {new}" if new else unknown)
    if constraint is None or not is_set:
        return
    right, wrong = ("min", "max") if METRICS[metric].higher_is_better else ("max", "min")
    if getattr(constraint, wrong) is not None:
        better = "more" if right == "min" else "less"
        raise ConfigError(f"{where}.{wrong}: of {METRIC_NAMES[metric]} {better} is better: set {where}.{right}")
    limit = getattr(constraint, right)
    low, high = (-1.0 if metric == "retention_change" else 0.0), 1.0 if METRICS[metric].unit == "fraction" else None
    if limit is not None and (limit < low or (high is not None and limit > high)):
        expected = f"at least {low:g}" if high is None else f"a fraction from {low:g} to {high:g}"
        raise ConfigError(f"{where}.{right}: expected {expected}, and is {limit:g}")


def violation(arm: str, metric: str, constraint: ConstraintConfig, measured: float | None) -> str | None:
    """Return a clause that says how an arm breaks a limit, or that it cannot be checked; None where it is kept."""
    noun = _NOUNS.get(metric) or METRIC_NAMES[metric]
    for limit, least in ((constraint.min, True), (constraint.max, False)):
        if limit is None:
            continue
        required = f"{'at least' if least else 'at most'} {format_value(metric, limit)} is required"
        if measured is None:
            return f"{arm} has no measured {noun}; {required}"
        if measured < limit if least else measured > limit:
            return f"{arm} has {noun} of {format_value(metric, measured)}; {required}"
    return None
