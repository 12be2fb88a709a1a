"""Settings that have another name than in an earlier version, so that an old one is answered with the new one."""

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "prompts.*.answering": "prompts.*.decoding",
    "prompts.*.plain": "prompts.*.engineered",
    "tuner.prompt.answering": "tuner.prompt.decoding",
    "decoding.after": "decoding.answer_prefix",
    "checkpoints.*.repeats": "checkpoints.*.repeat_of",
    "tuner.start": "tuner.warm_start",
    "robustness.variations": "robustness.formats",
    "optimise.answerings": "optimise.decodings",
    "retrain.recent": "retrain.holdout_share",
    "retrain.window": "retrain.holdout_rows",
    "retrain.label_least": "retrain.min_label_rows",
    "retrain.unlabelled": "retrain.max_unlabelled_rows",
    "retrain.gate.recent_least": "retrain.gate.min_recent_rows",
    "retrain.triggers.*.least": "retrain.triggers.*.min_rows",
    "retrain.triggers.*.most": "retrain.triggers.*.max_rows",
}
"""Path of a setting → its path now; `*` is any one name. A longer path that holds an old one is renamed in that part:
`curve.prompts.knn.answering`, `checkpoints.lora.tuner.start.adapter`. A renamed setting stays in its section."""

NEGATED = "plain"
"""Name of a setting whose new one says the opposite."""

MOVED_TARGETS = {
    "whether.prompt.answering.one_of_labels": "whether.outputs.decoding.constrained",
    "whether.prompt.answering.structured": "whether.outputs.decoding.json_answer",
    "whether.prompt.answering.constrained_choice": "whether.outputs.decoding.constrained",
    "whether.outputs.decoding.constrained_choice": "whether.outputs.decoding.constrained",
    **{
        f"whether.prompt.answering.{name}": f"whether.outputs.decoding.{name}"
        for name in ("greedy", "self_consistency", "label_scores", "json_answer")
    },
}
"""`_target_` of an earlier version → its dotted path now."""

RENAMED_CHOICES = {
    "prompt": {
        name: name.removesuffix("_constrained")
        for name in (
            "zero_shot_constrained",
            "few_shot_constrained",
            "definitions_constrained",
        )
    },
}
"""Folder of conf/ → name of a file that it had → the file that says the same now."""

OLD_CONSTRAINTS = {
    "latency_p95": ("latency_p95", "max"),
    "usd_per_1k": ("usd_per_1k", "max"),
    "peak_memory": ("peak_memory", "max"),
    "valid_rate": ("valid_rate", "min"),
    "consistency": ("consistency", "min"),
    "retention_loss": ("retention_change", "min"),
}
"""Field of `policy.constraints` that held a number → metric and side now."""


def new_path(path: str) -> str | None:
    """Return the path that a setting of an earlier version has now; None if it is not one that was renamed."""
    parts = path.split(".")
    for old, new in RENAMED.items():
        names = old.split(".")
        for start in range(len(parts) - len(names) + 1):
            found = parts[start : start + len(names)]
            if all(name in ("*", part) for name, part in zip(names, found, strict=True)):
                between = iter(part for name, part in zip(names, found, strict=True) if name == "*")
                renamed = [next(between) if name == "*" else name for name in new.split(".")]
                now = ".".join([*parts[:start], *renamed, *parts[start + len(names) :]])
                return new_path(now) or now
    return None


def negation(path: str) -> str:
    """Return what a message adds to the new name of a setting: whether that says the opposite."""
    return ", and says the opposite" if path.rpartition(".")[2] == NEGATED else ""


def with_new_names(values: Any, path: tuple[str, ...] = ()) -> Any:
    """Return settings of an earlier version, as a record of that time has them, under today's names."""
    if isinstance(values, list):
        return [with_new_names(value, path) for value in values]
    if not isinstance(values, Mapping):
        return MOVED_TARGETS.get(values, values) if path[-1:] == ("_target_",) else values
    if path == ("policy", "constraints"):
        return new_constraints(values)
    found = {}
    for key, value in values.items():
        new = new_path(".".join((*path, str(key))))
        name = new.rpartition(".")[2] if new else key
        found[name] = not value if new and key == NEGATED else with_new_names(value, (*path, str(name)))
    return found


def new_constraint(metric: str, limit: float | None = None) -> str | None:
    """Return what `policy.constraints.<metric>` of an earlier version is now, with a limit where one is given.

    None for a metric that had no such limit.
    """
    if metric not in OLD_CONSTRAINTS:
        return None
    name, side = OLD_CONSTRAINTS[metric]
    path = f"policy.constraints.{name}.{side}"
    return path if limit is None else f"{path}={_turned(metric, limit)}"


def new_constraints(constraints: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the values of `policy.constraints` of any version in today's form, without limits that are not set."""
    found: dict[str, dict[str, float]] = {}
    for metric, limit in constraints.items():
        if metric in OLD_CONSTRAINTS and isinstance(limit, (int, float)):
            name, side = OLD_CONSTRAINTS[metric]
            found[name] = {side: _turned(metric, limit)}
        elif limit and any(value is not None for value in limit.values()):
            found[metric] = {side: value for side, value in limit.items() if value is not None}
    return found


def _turned(metric: str, limit: float) -> float:
    """Return a limit of an earlier version in the sense of today's metric: a loss is a negative change."""
    return -limit if metric == "retention_loss" else limit
