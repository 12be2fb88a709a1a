"""What changed since an earlier verdict: the answer, each arm's quality beyond noise, and what it was made from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from whether.compare.decide import conclude
from whether.config import Config, TaskConfig
from whether.config.renamed import new_constraints
from whether.errors import ConfigError, near_matches
from whether.metrics.format import format_points, join_names
from whether.metrics.metric import Metric, metric_of
from whether.records import (
    HEADLINES,
    ArmChange,
    ChangeConclusion,
    Changes,
    OutputRow,
    Provenance,
    Task,
    Verdict,
    read_json,
    read_jsonl,
)
from whether.stats.groups import clustered
from whether.stats.intervals import InferenceSettings, PairedDifference
from whether.stats.simultaneous import holm_differences
from whether.stats.totals import estimate_difference

_CONCLUSIONS: dict[str, ChangeConclusion] = {"a_better": "better", "b_better": "worse", "equivalent": "unchanged"}


class VerdictFiles(NamedTuple):
    """What a folder artifacts/compare says."""

    verdict: Verdict
    outputs: list[OutputRow]


def read_result(folder: Path) -> VerdictFiles:
    """Read a folder artifacts/compare. Raises RecordError for one that is incomplete or broken."""
    return VerdictFiles(read_json(folder / "verdict.json", Verdict), read_jsonl(folder / "outputs.jsonl", OutputRow))


def changes(then: VerdictFiles, now: VerdictFiles, config: Config, settings: InferenceSettings) -> Changes:
    """Compare two results on the examples that they share.

    An example is shared if its id, inputs and target are the same. Each arm of both is compared with itself by the
    paired interval and test of the verdict, corrected over the arms. Raises ConfigError where the settings do
    not select its metric.
    """
    shared = _shared(then.outputs, now.outputs)
    both = [name for name in now.verdict.arms if name in then.verdict.arms]
    arms = [name for name in both if all(name in row.arms for pair in shared for row in pair)]
    differences = {}
    if shared and arms:
        metric = _metric(now.verdict, config)
        differences = {
            name: _difference(name, shared, _task(config.task, shared, name), metric, settings) for name in arms
        }
    rows = [
        ArmChange(
            name, row.estimate.difference, row.interval.low, row.interval.high, row.estimate.p_value, row.p_adjusted,
            row.estimate.n, _CONCLUSIONS.get(conclude(row, config.policy), "not_shown"),
        )
        for name, row in holm_differences(differences).items()
    ]  # fmt: skip
    found = Changes(
        answer_then=then.verdict.answer,
        answer_now=now.verdict.answer,
        recommended_then=then.verdict.recommended_arm,
        recommended_now=now.verdict.recommended_arm,
        causes=_causes(then.verdict, now.verdict, len(shared), len(now.outputs)),
        arms=rows,
        added=[name for name in now.verdict.arms if name not in then.verdict.arms],
        removed=[name for name in then.verdict.arms if name not in now.verdict.arms],
        reasons=[],
    )
    found.reasons.extend(_reasons(found, now.verdict))
    return found


Pairs = list[tuple[OutputRow, OutputRow]]
"""Then and now."""


def _shared(then: Sequence[OutputRow], now: Sequence[OutputRow]) -> Pairs:
    def key(row: OutputRow) -> str:
        return json.dumps([row.id, row.inputs, row.target], sort_keys=True)

    before = {key(row): row for row in then}
    return [(before[key(row)], row) for row in now if key(row) in before]


def _metric(verdict: Verdict, config: Config) -> Metric:
    """Return the metric that a verdict compares by."""
    if verdict.metric not in config.metrics:
        raise ConfigError(
            f"the verdict compares by {verdict.metric}, which the settings do not select"
            f"{near_matches(verdict.metric, config.metrics)}: add it, as in `whether run metric=[…]`"
        )
    return metric_of(verdict.metric, config.metrics[verdict.metric])


def _task(task: TaskConfig, shared: Pairs, arm: str) -> Task:
    """Return what metrics need of a task; its labels are those that were asked for or answered.

    The verdicts can be of another task than that of the settings, so nothing is read by its kind of output.
    """
    answers = {row.arms[arm].answer for pair in shared for row in pair}
    labels = sorted({row.target for _, row in shared} | {answer for answer in answers if answer is not None})
    return Task(
        name=task.name, output=task.output, output_settings=task.output_settings, metric=None,
        instruction=task.instruction, input_template=task.input_template, labels=labels, schema=task.schema,
        answer_pattern=task.answer_pattern, max_new_tokens=task.max_new_tokens,
    )  # fmt: skip


def _difference(arm: str, shared: Pairs, task: Task, metric: Metric, settings: InferenceSettings) -> PairedDifference:
    targets = [row.target for _, row in shared]
    then, now = (
        metric.table(task, [row.arms[arm].answer for row in rows], targets) for rows in zip(*shared, strict=True)
    )
    settings = clustered([row.group for _, row in shared], settings)
    return estimate_difference(now, then, metric, settings)


def _causes(then: Verdict, now: Verdict, shared: int, examples: int) -> list[str]:
    """Return what the results were made from that differs; what an older version did not record is left out."""
    before, after = then.provenance, now.provenance
    causes = []
    if then.task != now.task:
        causes.append(f"the task ({then.task}, now {now.task})")
    if before.data_hash != after.data_hash:
        causes.append(f"the data ({shared:,} of {examples:,} test examples were there before)")
    if before.model_hash != after.model_hash:
        causes.append(f"the base model ({then.model}, now {now.model})")
    causes += _settings(before, after)
    if before.dtype and after.dtype and before.dtype != after.dtype:
        causes.append(f"the precision ({before.dtype}, now {after.dtype})")
    policies = _policy(then.policy), _policy(now.policy)
    for name, (old, new) in {"policy": policies, "pricing": (then.pricing, now.pricing)}.items():
        keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if keys:
            causes.append(f"the {name} ({', '.join(keys)})")
    if before.commit != after.commit:
        causes.append(f"the code ({_short(before.commit)}, now {_short(after.commit)})")
    elif before.dirty or after.dirty:
        causes.append(f"perhaps the code (there were uncommitted changes to {_short(after.commit)})")
    packages = sorted(name for name, version in after.versions.items() if before.versions.get(name, version) != version)
    if packages:
        changed = ", ".join(f"{name} {before.versions[name]} → {after.versions[name]}" for name in packages)
        causes.append(f"packages ({changed})")
    return causes


def _policy(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a verdict's policy with its constraints in today's form, whatever version wrote them."""
    return policy | {"constraints": new_constraints(policy.get("constraints") or {})}


def _settings(before: Provenance, after: Provenance) -> list[str]:
    if not before.settings or not after.settings:
        return []
    # An earlier version recorded no metrics: of those nothing is known to have changed.
    no_metrics = not any(name.startswith("metrics.") for name in before.settings)
    known = [name for name in after.settings if not (no_metrics and name.startswith("metrics."))]
    names = [name for name in known if before.settings.get(name, "") != after.settings[name]]
    return [f"the settings of {join_names(names)}"] if names else []


def _short(commit: str | None) -> str:
    return commit[:7] if commit else "no commit"


def _reasons(found: Changes, now: Verdict) -> list[str]:
    then, answer = HEADLINES[found.answer_then], HEADLINES[found.answer_now]
    if found.answer_then == found.answer_now and found.recommended_then == found.recommended_now:
        sentences = [f"The verdict is the same: {answer} ({found.recommended_now})."]
    else:
        sentences = [f"The verdict was: {then} ({found.recommended_then}). It is: {answer} ({found.recommended_now})."]
        sentences += _old_vs_new(found, now)
    if found.causes:
        sentences.append(f"What differs: {'; '.join(found.causes)}.")
    else:
        sentences.append("Both were made from the same data, base model, settings and code.")
    for word in ("better", "worse"):
        names = [f"{row.arm} ({format_points(row.difference)})" for row in found.arms if row.conclusion == word]
        if names:
            sentences.append(f"Beyond noise, {word} than before: {join_names(names)}.")
    moved = [row for row in found.arms if row.conclusion in ("better", "worse")]
    if found.arms and not moved:
        sentences.append("No arm's quality is shown to have changed.")
    if not found.arms:
        sentences.append("No arm can be compared with itself: the two have no test example or no arm in common.")
    return sentences


def _old_vs_new(found: Changes, now: Verdict) -> list[str]:
    """Say how the arm that was recommended then does now, next to the one that is."""
    then, current = found.recommended_then, found.recommended_now
    for row in now.comparisons:
        if {row.arm_a, row.arm_b} == {then, current}:
            sign = 1 if row.arm_a == current else -1
            low, high = sorted((sign * row.ci_low, sign * row.ci_high))
            return [
                f"On today's test examples {current} minus {then} is {format_points(sign * row.difference)} (interval"
                f" {format_points(low)} to {format_points(high)})."
            ]
    return []
