"""Hard limits on metrics (`policy.constraints`): which metric can have which limit, and how a broken one reads."""

from collections.abc import Mapping

from whether.config import Config, ConstraintConfig
from whether.config.renamed import new_constraint
from whether.errors import ConfigError, near_matches
from whether.metrics.catalogue import METRICS
from whether.metrics.format import UNITS, format_value
from whether.metrics.metric import metric_of, setting_of
from whether.records import MetricInfo

_NOUNS = {
    "consistency": "agreement of samples",
    "majority_score": "score of the most frequent sample",
    "sensitivity_worst": "score in the worst format",
    "changed_outputs": "share of changed answers",
    "flexibility": "accuracy on another task",
    "unseen_labels": "accuracy on unseen labels",
}
"""Metrics whose name in a table does not read well in a sentence."""


def check_metrics(config: Config) -> None:
    """Check the metrics of answers, and the limits on metrics against them and the catalogue.

    Raises ConfigError for a primary metric that is not there or cannot decide, for one with the name of one that stages
    measure or in a unit that is not known, for a limit on one that no arm of the task has, and for a limit on the wrong
    side or out of range. A limit that is not set needs a metric that exists.
    """
    _check_primary(config)
    for name, settings in config.metrics.items():
        if name in METRICS:
            raise ConfigError(f"metrics.{name}: stages measure a metric of this name: call yours otherwise")
        if settings.unit not in UNITS:
            unknown = f"{settings.unit!r} is not a unit of metrics{near_matches(settings.unit, UNITS)}"
            raise ConfigError(f"{setting_of(name, 'unit')}: {unknown}")
        metric_of(name, settings)
    for name, constraint in config.policy.constraints.items():
        _check_constraint(name, constraint, config)


def _check_primary(config: Config) -> None:
    output, known = config.task.output, config.quality_metrics
    if not known:
        raise ConfigError(f"metrics: none of those selected goes with output: {output}; select one in metric=[…]")
    for where, name in (("policy.metric", config.policy.metric), ("task.metric", config.task.metric)):
        if name is not None and name not in known:
            near = near_matches(name, known)
            raise ConfigError(f"{where} {name!r} is not measured for output: {output}, or not selected{near}")
    if not config.metrics[config.primary_metric].can_decide:
        raise ConfigError(
            f"metrics.{config.primary_metric} cannot be the primary metric: margins are fractions, so its range has to"
            " be [0, 1] and more has to be better; name another one in task.metric or policy.metric"
        )


def _check_constraint(metric: str, constraint: ConstraintConfig | None, config: Config) -> None:
    where, task = f"policy.constraints.{metric}", config.task
    absent = () if task.has_labels else ("unseen_labels",)
    known = {name: info for name, info in METRICS.items() if name not in absent}
    known |= {name: metric_of(name, config.metrics[name]).info for name in config.quality_metrics}
    is_set = constraint is not None and (constraint.min is not None or constraint.max is not None)
    exists = metric in known or metric in METRICS or metric in config.metrics
    if not exists or (is_set and metric not in known):
        new = new_constraint(metric)
        unknown = f"{where}: arms of a {task.output} task have no such metric{near_matches(metric, known)}"
        raise ConfigError(f"{where} is now {new}" if new else unknown)
    if constraint is not None and is_set:
        is_bounded = metric in METRICS or config.metrics[metric].range is not None
        _check_limit(where, constraint, known[metric], is_bounded)


def _check_limit(where: str, constraint: ConstraintConfig, info: MetricInfo, is_bounded: bool) -> None:
    right, wrong = ("min", "max") if info.higher_is_better else ("max", "min")
    if getattr(constraint, wrong) is not None:
        better = "more" if right == "min" else "less"
        raise ConfigError(f"{where}.{wrong}: of {info.label} {better} is better: set {where}.{right}")
    limit = getattr(constraint, right)
    low, high = (-1.0 if info.is_change else 0.0), 1.0 if info.unit == "fraction" else None
    if limit is not None and is_bounded and (limit < low or (high is not None and limit > high)):
        expected = f"at least {low:g}" if high is None else f"a fraction from {low:g} to {high:g}"
        raise ConfigError(f"{where}.{right}: expected {expected}, and is {limit:g}")


def violation(
    arm: str, metric: str, constraint: ConstraintConfig, measured: float | None,
    metrics: Mapping[str, MetricInfo] = METRICS,
) -> str | None:  # fmt: skip
    """Return a clause that says how an arm breaks a limit, or that it cannot be checked; None where it is kept.

    `metrics` say how metrics read.
    """
    noun = _NOUNS.get(metric) or metrics[metric].label
    for limit, least in ((constraint.min, True), (constraint.max, False)):
        if limit is None:
            continue
        required = f"{'at least' if least else 'at most'} {format_value(metric, limit, metrics)} is required"
        if measured is None:
            return f"{arm} has no measured {noun}; {required}"
        if measured < limit if least else measured > limit:
            return f"{arm} has {noun} of {format_value(metric, measured, metrics)}; {required}"
    return None
