"""The first verdict of a run, from the arms alone: what is still to come, and what the rest then adds or changes."""

from collections.abc import Sequence
from typing import NamedTuple

from whether.cli.progress import minutes_text
from whether.cli.stage_times import StageTimes, kind_of
from whether.config import Config
from whether.metrics.format import compact_interval, format_value
from whether.records import HEADLINES, Verdict


class Part(NamedTuple):
    """Something that a run measures after the first verdict."""

    name: str
    group: str
    """What its settings are called."""
    kinds: tuple[str, ...]
    """Kinds of stages that measure it."""


ROBUSTNESS = Part("other formats and samples", "robustness", ("robustness",))
BENCHMARK = Part("general ability kept and speed", "benchmark", ("benchmark",))
CURVE = Part("the learning curve", "curve", ("curve_data", "curve_tune", "curve_generate", "curve_baseline"))


def parts_to_come(config: Config, stages: Sequence[str], times: StageTimes) -> str:
    """Return what is not measured yet and how long it takes. `stages` are those that may still have to run."""
    parts = [*([ROBUSTNESS] if config.robustness.examples else []), BENCHMARK]
    parts += [CURVE] if config.curve.labels else []
    shown = []
    for part in parts:
        seconds = [times.expected(stage) for stage in stages if kind_of(stage) in part.kinds]
        time = f", {minutes_text(sum(seconds) / 60)}" if seconds else ""
        shown.append(f"{part.name} ({part.group}{time})")
    whole = sum(times.expected(stage) for stage in stages) / 60
    return f"Still to come, about {minutes_text(whole)}: {', '.join(shown)}"


def what_changed(first: Verdict, verdict: Verdict) -> list[str]:
    """Return, in sentences, what the whole verdict changes against the first one, and what it adds."""
    return [*_changes(first, verdict), *_additions(first, verdict)]


def _changes(first: Verdict, verdict: Verdict) -> list[str]:
    lines = []
    if verdict.answer != first.answer:
        lines.append(f"The answer changed from “{HEADLINES[first.answer]}” to “{HEADLINES[verdict.answer]}”.")
    if verdict.recommended_arm != first.recommended_arm:
        then, now = first.recommended_arm or "none", verdict.recommended_arm or "none"
        lines.append(f"The recommended arm changed from {then} to {now}.")
    if not lines:
        arm = f", with {verdict.recommended_arm}" if verdict.recommended_arm else ""
        lines.append(f"The answer stands: {HEADLINES[verdict.answer]}{arm}.")
    for arm in sorted(first.status.keys() | verdict.status.keys()):
        then, now = first.status.get(arm, "not compared"), verdict.status.get(arm, "not compared")
        if then != now:
            lines.append(f"{arm} is {now}; it was {then}.")
    lines += [f"{arm} is excluded: {why}" for arm, why in verdict.excluded.items() if arm not in first.excluded]
    lines += [f"{arm} is not excluded now." for arm in first.excluded if arm not in verdict.excluded]
    return lines


def _additions(first: Verdict, verdict: Verdict) -> list[str]:
    """Return a line for each part that was added, about the recommended arm, or the best one where none is."""
    arm = verdict.recommended_arm or verdict.ranking()[0]
    before = first.arms[arm].metrics if arm in first.arms else {}
    shown: dict[str, str] = {}
    for metric in ("sensitivity_worst", "retention_change", "retention", "tokens_per_second"):
        measured, then = verdict.arms[arm].metrics.get(metric), before.get(metric)
        if measured and measured.value is not None and (then is None or then.value is None):
            interval = compact_interval(metric, measured)
            shown[metric] = format_value(metric, measured.value) + (f" ({interval})" if interval else "")
    lines = []
    if "sensitivity_worst" in shown:
        lines.append(f"Robustness: {arm} scores {shown['sensitivity_worst']} in the worst format of its prompt.")
    if "retention_change" in shown:
        lines.append(f"General ability: tuning changed that of {arm} by {shown['retention_change']}.")
    elif "retention" in shown:
        lines.append(f"General ability: {arm} scores {shown['retention']} on the retention suite.")
    if "tokens_per_second" in shown:
        lines.append(f"Speed: {arm} reads {shown['tokens_per_second']} tokens a second in batches.")
    if verdict.learning_curve and not first.learning_curve:
        lines.append(f"Learning curve: {verdict.learning_curve.reasons[0]}")
    return lines
