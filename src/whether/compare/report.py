"""report.html: the verdict on one page that needs no network, from report.html.j2.

Everything that a model or a data set wrote is untrusted: Jinja escapes it, and only our own pictures and styles are
passed as markup.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from whether.compare.cost_plots import shown_break_even
from whether.compare.load import Study
from whether.compare.measure import retention_changes
from whether.compare.plots import STYLE
from whether.compare.robustness import format_table, measured, violations
from whether.compare.tables import ranking
from whether.config import BASE
from whether.metrics.catalogue import METRIC_NAMES, METRICS, ROBUSTNESS
from whether.metrics.format import (
    NOT_MEASURED,
    compact_interval,
    format_bytes,
    format_energy,
    format_flops,
    format_interval,
    format_p_value,
    format_percent,
    format_seconds,
    format_signed,
    format_signed_usd,
    format_usd,
    format_value,
    significant,
)
from whether.records import APPROACH_NAMES, HEADLINES, Aspect, Comparison, Measurement, Prediction, Verdict
from whether.stats.intervals import Inference

_HERE = Path(__file__).parent
TABLES = {
    "Quality and cost": (
        "accuracy", "exact_match", "macro_f1", "valid_rate", "latency_p50", "latency_p95", "usd_per_1k", "usd_to_build",
        "usd_per_month",
    ),
    "Tokens, general ability and footprint": (
        "input_tokens", "computed_tokens", "output_tokens", "retrieval_recall", "retention", "retention_change",
        "flexibility", "unseen_labels", "perplexity", "tokens_per_second", "peak_memory", "disk",
    ),
    "Format and chance, on a part of dev": ROBUSTNESS,
}  # fmt: skip
"""The leaderboard in tables that fit a page; the metrics that the task has, the primary one first."""
RARE = ("retrieval_recall", "unseen_labels", *ROBUSTNESS)
"""Left out where no arm has them: they do not apply then, or were switched off."""
SHOWN = 200
"""Examples shown side by side; outputs.jsonl holds all of them."""
_LONGEST_INPUT, _LONGEST_OUTPUT = 600, 240
CONCLUSIONS = {
    "a_better": "{a} is better",
    "b_better": "{b} is better",
    "equivalent": "equivalent within the margin",
    "a_not_worse": "{a} is not worse by the margin",
    "b_not_worse": "{b} is not worse by the margin",
    "inconclusive": "cannot tell",
}


def render(verdict: Verdict, study: Study, drawings: dict[str, str], settings: Inference) -> str:
    """Return the page. `drawings` are the pictures of `whether.compare.plots`, by name."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": lambda number, metric: format_value(metric, number), "usd": format_usd}
    environment.filters |= {"signed": format_signed, "p_value": format_p_value, "signed_usd": format_signed_usd}
    environment.globals |= {"interval": format_interval, "names": METRIC_NAMES, "kinds": APPROACH_NAMES}
    environment.globals["metrics"] = METRICS
    shown, differing = examples(verdict, study)
    chosen = list(verdict.representatives.values()) or ranking(verdict)
    formats = measured(study, verdict)
    return environment.get_template("report.html.j2").render(
        verdict=verdict,
        task=study.task,
        curve=verdict.learning_curve,
        headline=HEADLINES[verdict.answer],
        summary=summary(verdict),
        level=f"{100 * settings.level:g}%",
        leaderboards=leaderboards(verdict),
        status={"acceptable": "not worse than the best", "rejected": "shown to be worse", "undecided": "not settled"},
        decision=[_comparison(row) for row in verdict.comparisons if row.family == "decision"],
        exploratory=[_comparison(row) for row in verdict.comparisons if row.family == "exploratory"],
        retention=retention(study, settings),
        training_costs=training_costs(verdict),
        chosen=chosen,
        unmeasured=_unmeasured(verdict, chosen),
        formats=format_table(formats) if formats else None,
        subset=next((one for one in formats.values()), None),
        violations=violations(study, verdict),
        profile=study.profile,
        balance=_balance(study),
        tests=len(study.examples),
        training=_named(drawings, "training_"),
        confusions=_named(drawings, "confusion_"),
        examples=shown,
        differing=differing,
        driven=shown_break_even(verdict) if verdict.break_even else None,
        drawings={name: Markup(svg) for name, svg in drawings.items()},  # noqa: S704 - drawn by us from numbers
        colours=Markup(STYLE),  # noqa: S704 - a file of this package
    )


def summary(verdict: Verdict) -> str:
    """Return what the recommended arm does, in one sentence."""
    if verdict.recommended_arm is None:
        return "No arm keeps the hard constraints."
    metrics, metric = verdict.arms[verdict.recommended_arm].metrics, verdict.metric
    lead = "The best guess so far, " if verdict.answer == "inconclusive" else ""
    return (
        f"{lead}{verdict.recommended_arm}{',' if lead else ''} reaches {METRIC_NAMES[metric]}"
        f" {format_value(metric, metrics[metric].value)} on test ({format_interval(metric, metrics[metric])})"
        f" and costs {format_value('usd_to_build', metrics['usd_to_build'].value)} to build and"
        f" {format_value('usd_per_1k', metrics['usd_per_1k'].value)} per 1,000 requests."
    )


def leaderboards(verdict: Verdict) -> list[dict[str, Any]]:
    """Return the tables of the leaderboard: title, columns, and an arm a row, best primary metric first."""
    measured = next(iter(verdict.arms.values())).metrics
    tables = []
    for title, names in TABLES.items():
        shown = [name for name in names if name in measured and (name not in RARE or _is_known(name, verdict))]
        columns = sorted(shown, key=lambda name: name != verdict.metric)
        if not columns:
            continue
        best = {name: _best(name, verdict) for name in columns}
        rows = [
            {"name": arm, "cells": [_cell(name, verdict.arms[arm].metrics[name], best[name]) for name in columns]}
            for arm in ranking(verdict)
        ]
        tables.append({"title": title, "columns": columns, "rows": rows})
    return tables


def _is_known(metric: str, verdict: Verdict) -> bool:
    return any(arm.metrics[metric].value is not None for arm in verdict.arms.values())


def _best(metric: str, verdict: Verdict) -> float | None:
    """Return the best value of a metric; None where all are equal."""
    known = [value for arm in verdict.arms.values() if (value := arm.metrics[metric].value) is not None]
    if len(set(known)) < 2:
        return None
    return max(known) if METRICS[metric].higher_is_better else min(known)


def _cell(metric: str, row: Measurement, best: float | None) -> dict[str, Any]:
    """Return one number of the leaderboard; intervals of token counts are left to leaderboard.csv."""
    interval = "" if metric.endswith("tokens") else compact_interval(metric, row)
    is_best = best is not None and row.value == best
    return {"metric": metric, "value": row.value, "interval": interval, "best": is_best}


def _unmeasured(verdict: Verdict, arms: Sequence[str]) -> list[Aspect]:
    """Return the questions of which a metric is known for none of these arms, and that say how to measure it."""

    def known(metric: str) -> bool:
        return any(verdict.arms[arm].metrics[metric].value is not None for arm in arms)

    return [aspect for aspect in verdict.aspects if aspect.otherwise and not all(map(known, aspect.metrics))]


def _balance(study: Study) -> list[dict[str, Any]]:
    """Return the labels of the test split with their counts and bar widths in percent, most frequent first."""
    counts = study.profile["splits"]["test"]["labels"] or {}
    most = max(counts.values(), default=1)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"label": label, "count": count, "width": round(100 * count / most, 1)} for label, count in ordered]


def _named(drawings: dict[str, str], prefix: str) -> dict[str, str]:
    """Return picture → what it shows, for the pictures of one kind."""
    return {name: name.removeprefix(prefix) for name in drawings if name.startswith(prefix)}


def _comparison(row: Comparison) -> dict[str, str]:
    return {
        "a": row.arm_a,
        "b": row.arm_b,
        "difference": format_signed(row.difference),
        "interval": f"{format_signed(row.ci_low)} to {format_signed(row.ci_high)}",
        "p": format_p_value(row.p_adjusted).removeprefix("p = ").removeprefix("p "),
        "conclusion": CONCLUSIONS[row.conclusion].format(a=row.arm_a, b=row.arm_b),
        "key": row.conclusion,
    }


def retention(study: Study, settings: Inference) -> list[dict[str, Any]]:
    """Return for each tuned checkpoint and task of the retention suite: base, tuned, and the paired change."""
    base, rows = study.checkpoints[BASE], []
    for checkpoint in study.checkpoints.values():
        if not checkpoint.tuned:
            continue
        changes = retention_changes(checkpoint, base, settings)
        for task, result in checkpoint.results.items():
            before, change = base.results.get(task), changes.get(task)
            rows.append(
                {
                    "checkpoint": checkpoint.name,
                    "task": task.removeprefix("whether_").replace("_", " "),
                    "n": result.n,
                    "base": before and format_percent(before.value),
                    "tuned": format_percent(result.value),
                    "change": change and format_signed(change.difference),
                    "interval": change
                    and f"{format_signed(change.interval.low)} to {format_signed(change.interval.high)}",
                }
            )
    return rows


def training_costs(verdict: Verdict) -> list[dict[str, str]]:
    """Return what making each tuned checkpoint took, as people read it."""

    def shown(number: float | None, form: Callable[[float], str]) -> str:
        return NOT_MEASURED if number is None else form(number)

    return [
        {
            "checkpoint": name,
            "labels": f"{row.labels:,}",
            "tokens": shown(row.tokens, significant),
            "computed": shown(row.computed_tokens, significant),
            "flops": shown(row.flops, format_flops),
            "time": format_seconds(row.seconds),
            "energy": shown(row.energy, format_energy),
            "memory": shown(row.peak_memory, format_bytes),
            "device_memory": shown(row.peak_device_memory, format_bytes),
            "usd": shown(row.usd, format_usd),
        }
        for name, row in verdict.training.items()
    ]


def examples(verdict: Verdict, study: Study) -> tuple[list[dict[str, Any]], int]:
    """Return at most `SHOWN` test examples on which arms differ, those of compared arms first, and how many do."""
    found = []
    for index, example in enumerate(study.examples):
        answers = {name: arm.test[index] for name, arm in study.arms.items()}
        if len({_shown(answer) for answer in answers.values()}) > 1:
            tags = _tags(answers, verdict)
            inputs = {key: _cut(text, _LONGEST_INPUT) for key, text in example.inputs.items()}
            found.append(
                {"id": example.id, "inputs": inputs, "target": _cut(example.target, _LONGEST_INPUT), "tags": tags,
                 "groups": _groups(answers, ranking(verdict))}
            )  # fmt: skip
    found.sort(key=lambda row: "disagree" not in row["tags"])
    return found[:SHOWN], len(found)


def _tags(answers: dict[str, Prediction], verdict: Verdict) -> list[str]:
    """Return the filters that an example belongs to."""
    compared = verdict.representatives
    right = {kind: answers[name].score == 1 for kind, name in compared.items()}
    tuned = [right[kind] for kind in ("fine_tune", "both") if kind in right]
    prompt = right.get("prompt")
    tags = {
        "disagree": len({_shown(answers[name]) for name in compared.values()}) > 1,
        "gained": prompt is False and any(tuned),
        "lost": prompt is True and not all(tuned),
        "invalid": any(not answer.valid for answer in answers.values()),
    }
    return [name for name, holds in tags.items() if holds]


def _groups(answers: dict[str, Prediction], order: Sequence[str]) -> list[dict[str, Any]]:
    """Return the different answers, right ones first, each with the arms that gave it."""
    groups: dict[str, dict[str, Any]] = {}
    for name in order:
        answer = answers[name]
        text = _shown(answer)
        group = {"text": _cut(text, _LONGEST_OUTPUT), "score": answer.score, "valid": answer.valid, "arms": []}
        groups.setdefault(text, group)["arms"].append(name)
    return sorted(groups.values(), key=lambda group: (-group["score"], not group["valid"]))


def _shown(answer: Prediction) -> str:
    """Return what was understood, or the raw output where nothing was."""
    return answer.answer if answer.answer is not None else answer.output


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
