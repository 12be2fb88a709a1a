"""report.html: the verdict on one page that needs no network, from report.html.j2.

The stage `report` writes it and plots/*.svg into artifacts/report. Everything that a model or a data set wrote is
untrusted: Jinja escapes it, and only our own pictures and styles are passed as markup.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from whether.metrics.catalogue import ROBUSTNESS, catalogue, quality_names
from whether.metrics.format import (
    NOT_MEASURED,
    compact_interval,
    format_bounds,
    format_bytes,
    format_energy,
    format_flops,
    format_interval,
    format_number,
    format_p_value,
    format_percent,
    format_seconds,
    format_signed,
    format_signed_usd,
    format_usd,
    format_value,
    significant,
)
from whether.records import (
    APPROACH_NAMES,
    HEADLINES,
    ArmOutput,
    Aspect,
    Comparison,
    Measurement,
    MetricInfo,
    Verdict,
    write_text,
)
from whether.report.cost_plots import shown_break_even
from whether.report.data import ReportData, read_report_data
from whether.report.formats import format_table, leniencies, violations
from whether.report.plots import STYLE, plot_all, with_style

_HERE = Path(__file__).parent
TABLES = {
    "Quality and cost": (
        "valid_rate", "lenient_rate", "failed_rate", "latency_p50", "latency_p95", "usd_per_1k", "usd_to_build",
        "usd_per_month",
    ),
    "Tokens, general ability and footprint": (
        "input_tokens", "computed_tokens", "output_tokens", "retrieval_recall", "retention", "retention_change",
        "flexibility", "unseen_labels", "perplexity", "tokens_per_second", "peak_memory", "disk",
    ),
    "Format and chance, on a part of dev": ROBUSTNESS,
}  # fmt: skip
"""The leaderboard in tables that fit a page. Metrics of answers come before these, the primary one first."""
HIDDEN_IF_UNMEASURED = ("retrieval_recall", "unseen_labels", *ROBUSTNESS)
"""Left out where no arm has them: they do not apply then, or were switched off."""
HIDDEN_IF_ZERO = ("lenient_rate", "failed_rate")
"""Left out where it is 0 for every arm."""
MAX_EXAMPLES = 200
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


def write_report(verdict: Path, *, artifacts: Path, folder: Path) -> None:
    """Write report.html and plots/*.svg into `folder`; `verdict` is a folder like artifacts/compare.

    Raises RecordError for a record that is missing or broken.
    """
    data = read_report_data(verdict, artifacts)
    drawings = plot_all(data)
    for name, svg in drawings.items():
        write_text(folder / "plots" / f"{name}.svg", with_style(svg))
    write_text(folder / "report.html", render(data, drawings))


def _environment(metrics: Mapping[str, MetricInfo]) -> Environment:
    """Return Jinja with the filters and names of the page. `metrics` are all that the verdict knows, by name."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": lambda number, metric: format_value(metric, number, metrics), "usd": format_usd}
    environment.filters |= {"signed": format_signed, "p_value": format_p_value, "signed_usd": format_signed_usd}
    environment.globals |= {
        "interval": lambda metric, measured: format_interval(metric, measured, metrics),
        "names": {name: info.label for name, info in metrics.items()},
        "kinds": APPROACH_NAMES,
        "metrics": metrics,
    }
    return environment


def render(data: ReportData, drawings: dict[str, str]) -> str:
    """Return the page. `drawings` are the pictures of `whether.report.plots`, by name."""
    verdict = data.verdict
    shown, differing = examples(data)
    chosen = list(verdict.representatives.values()) or verdict.ranking()
    return (
        _environment(catalogue(verdict))
        .get_template("report.html.j2")
        .render(
            verdict=verdict,
            task=data.task,
            curve=verdict.learning_curve,
            headline=HEADLINES[verdict.answer],
            answers={arm.answer for arm in verdict.arms.values()},
            summary=summary(verdict),
            level=f"{100 * data.level:g}%",
            leaderboards=leaderboards(verdict),
            status={
                "acceptable": "not worse than the best",
                "rejected": "shown to be worse",
                "undecided": "not settled",
            },
            decision=[_comparison(row) for row in verdict.comparisons if row.family == "decision"],
            exploratory=[_comparison(row) for row in verdict.comparisons if row.family == "exploratory"],
            retention=retention(verdict),
            training_costs=training_costs(verdict),
            chosen=chosen,
            unmeasured=_unmeasured(verdict, chosen),
            formats=format_table(data.robustness) if data.robustness else None,
            subset=next(iter(data.robustness.values()), None),
            violations=violations(data.adherence),
            leniencies=leniencies(verdict),
            profile=data.profile,
            balance=_balance(data.profile),
            tests=len(data.outputs),
            training=_named(drawings, "training_"),
            confusions=_named(drawings, "confusion_"),
            examples=shown,
            differing=differing,
            driven=shown_break_even(verdict) if verdict.break_even else None,
            drawings={name: Markup(svg) for name, svg in drawings.items()},  # noqa: S704 - drawn by us from numbers
            colours=Markup(STYLE),  # noqa: S704 - a file of this package
        )
    )


def summary(verdict: Verdict) -> str:
    """Return what the recommended arm does, in one sentence."""
    if verdict.recommended_arm is None:
        return "No arm keeps the hard constraints."
    metrics, info = verdict.arms[verdict.recommended_arm].metrics, catalogue(verdict)[verdict.metric]
    quality = metrics[verdict.metric]
    lead = "The best guess so far, " if verdict.answer == "inconclusive" else ""
    return (
        f"{lead}{verdict.recommended_arm}{',' if lead else ''} reaches {info.label}"
        f" {format_number(info, quality.value)} on test ({format_bounds(info, quality)})"
        f" and costs {format_value('usd_to_build', metrics['usd_to_build'].value)} to build and"
        f" {format_value('usd_per_1k', metrics['usd_per_1k'].value)} per 1,000 requests."
    )


def leaderboards(verdict: Verdict) -> list[dict[str, Any]]:
    """Return the tables of the leaderboard: title, columns, and an arm a row, best primary metric first."""
    measured = next(iter(verdict.arms.values())).metrics
    tables, metrics = [], catalogue(verdict)
    for title, names in TABLES.items():
        own = quality_names(verdict) if title == next(iter(TABLES)) else []
        shown = [
            name
            for name in (*own, *names)
            if name in measured
            and (name not in HIDDEN_IF_UNMEASURED or _is_known(name, verdict))
            and (name not in HIDDEN_IF_ZERO or any(arm.metrics[name].value for arm in verdict.arms.values()))
        ]
        columns = sorted(shown, key=lambda name: name != verdict.metric)
        if not columns:
            continue
        best = {name: _best(name, verdict, metrics[name]) for name in columns}
        rows = [
            {
                "name": arm,
                "cells": [_cell(name, verdict.arms[arm].metrics[name], best[name], metrics) for name in columns],
            }
            for arm in verdict.ranking()
        ]
        tables.append({"title": title, "columns": columns, "rows": rows})
    return tables


def _is_known(metric: str, verdict: Verdict) -> bool:
    return any(arm.metrics[metric].value is not None for arm in verdict.arms.values())


def _best(metric: str, verdict: Verdict, info: MetricInfo) -> float | None:
    """Return the best value of a metric; None where all are equal."""
    known = [value for arm in verdict.arms.values() if (value := arm.metrics[metric].value) is not None]
    if len(set(known)) < 2:
        return None
    return max(known) if info.higher_is_better else min(known)


def _cell(metric: str, row: Measurement, best: float | None, metrics: Mapping[str, MetricInfo]) -> dict[str, Any]:
    """Return one number of the leaderboard; intervals of token counts are left to leaderboard.csv."""
    interval = "" if metric.endswith("tokens") else compact_interval(metric, row, metrics)
    is_best = best is not None and row.value == best
    return {"metric": metric, "value": row.value, "interval": interval, "best": is_best}


def _unmeasured(verdict: Verdict, arms: Sequence[str]) -> list[Aspect]:
    """Return the questions of which a metric is known for none of these arms, and that say how to measure it."""

    def known(metric: str) -> bool:
        return any(verdict.arms[arm].metrics[metric].value is not None for arm in arms)

    return [aspect for aspect in verdict.aspects if aspect.how_to_measure and not all(map(known, aspect.metrics))]


def _balance(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the labels of the test split with their counts and bar widths in percent, most frequent first."""
    counts = profile["splits"]["test"]["labels"] or {}
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
        "power": "" if row.power is None else f"{row.power:.0%}",
        "conclusion": CONCLUSIONS[row.conclusion].format(a=row.arm_a, b=row.arm_b),
        "key": row.conclusion,
    }


def retention(verdict: Verdict) -> list[dict[str, Any]]:
    """Return for each tuned checkpoint and task of the retention suite: base, tuned, and the paired change."""
    return [
        {
            "checkpoint": checkpoint,
            "task": task.removeprefix("whether_").replace("_", " "),
            "n": found.n,
            "base": None if found.base is None else format_percent(found.base),
            "tuned": format_percent(found.tuned),
            "change": None if found.difference is None else format_signed(found.difference),
            "interval": _signed_interval(found.ci_low, found.ci_high),
        }
        for checkpoint, tasks in verdict.retention.items()
        for task, found in tasks.items()
    ]


def _signed_interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{format_signed(low)} to {format_signed(high)}"


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


def examples(data: ReportData) -> tuple[list[dict[str, Any]], int]:
    """Return at most `SHOWN` test examples on which arms differ, those of compared arms first, and how many do."""
    found, verdict = [], data.verdict
    for example in data.outputs:
        answers = example.arms
        if len({_shown(answer) for answer in answers.values()}) > 1:
            tags = _outcome_tags(answers, verdict)
            inputs = {key: _truncate(text, _LONGEST_INPUT) for key, text in example.inputs.items()}
            found.append(
                {"id": example.id, "inputs": inputs, "target": _truncate(example.target, _LONGEST_INPUT), "tags": tags,
                 "groups": _groups(answers, verdict.ranking())}
            )  # fmt: skip
    found.sort(key=lambda row: "disagree" not in row["tags"])
    return found[:MAX_EXAMPLES], len(found)


def _outcome_tags(answers: dict[str, ArmOutput], verdict: Verdict) -> list[str]:
    """Return the filters that an example belongs to."""
    compared = verdict.representatives
    right = {kind: answers[name].score == 1 for kind, name in compared.items()}
    tuned = [right[kind] for kind in ("fine_tune", "both") if kind in right]
    prompt = right.get("prompt")
    tags = {
        "disagree": len({_shown(answers[name]) for name in compared.values()}) > 1,
        "gained": prompt is False and any(tuned),
        "lost": prompt is True and not all(tuned),
        "invalid": any(not answer.valid and not answer.error for answer in answers.values()),
    }
    return [name for name, holds in tags.items() if holds]


def _groups(answers: dict[str, ArmOutput], order: Sequence[str]) -> list[dict[str, Any]]:
    """Return the different answers, right ones first, each with the arms that gave it."""
    groups: dict[str, dict[str, Any]] = {}
    for name in order:
        answer = answers[name]
        text = _shown(answer)
        group = {
            "text": _truncate(text, _LONGEST_OUTPUT), "score": answer.score, "read": answer.answer is not None,
            "failed": answer.error is not None, "arms": [],
        }  # fmt: skip
        groups.setdefault(text, group)["arms"].append(name)
    return sorted(groups.values(), key=lambda group: (-group["score"], not group["read"]))


def _shown(answer: ArmOutput) -> str:
    """Return what was understood, or the raw output where nothing was, or why there is none."""
    if answer.error:
        return answer.error
    return answer.answer if answer.answer is not None else answer.output


def _truncate(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
