"""The model card: README.md in the form of the Hugging Face hub, from card.md.j2.

Names, instructions and settings come from users and data: in text they are escaped, in code they stand in fences that
they cannot end. No row of the data is shown, and no path of this machine.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from whether.chat.messages import zero_shot_messages
from whether.config import BASE
from whether.export.facts import CardData
from whether.export.metadata import metadata, model_name, technique
from whether.metrics.catalogue import METRICS, catalogue, quality_names
from whether.metrics.format import (
    NOT_MEASURED,
    compact_interval,
    format_bytes,
    format_p_value,
    format_percent,
    format_points,
    format_seconds,
    format_signed,
    format_value,
)
from whether.model.loading import load_tokenizer
from whether.model.tokens import render, with_template_roles
from whether.printing import markdown
from whether.records import ArmRecord, Comparison, Example, Measurement, Message, MetricInfo, to_builtins, write_text

SHOWN = ("valid_rate", "input_tokens", "latency_p50", "usd_per_1k")
"""Columns of the results after the metrics of answers; those that the task has."""


def write_card(facts: CardData, folder: Path) -> None:
    """Write README.md into a folder that holds the model's tokenizer."""
    write_text(folder / "README.md", card(facts, load_tokenizer(folder)))


def card(facts: CardData, tokenizer: Any) -> str:
    """Return the card as text: YAML between two lines of dashes, then Markdown."""
    from huggingface_hub import ModelCard

    text = f"---\n{metadata(facts).to_yaml()}\n---\n\n{_body(facts, tokenizer)}"
    return str(ModelCard(text))  # parses what it was given, so a card that the hub could not read fails here


def _environment() -> Environment:
    # Markdown is no HTML: what is untrusted goes through the filters of whether.printing.markdown.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - see above
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "text": markdown.escaped,
        "code": markdown.code,
        "fenced": markdown.fenced,
        "literal": markdown.literal,
        "value": lambda number, metric: format_value(metric, number),
        "count": lambda number: NOT_MEASURED if number is None else f"{number:,}",
        "seconds": lambda number: NOT_MEASURED if number is None else format_seconds(number),
        "size": lambda number: NOT_MEASURED if number is None else format_bytes(number),
        "percent": lambda number: NOT_MEASURED if number is None else format_percent(number),
    }
    return environment


def _body(facts: CardData, tokenizer: Any) -> str:
    verdict, messages = facts.verdict, with_template_roles(tokenizer, _example(facts))
    metrics = catalogue(verdict) if verdict else METRICS
    return (
        _environment()
        .get_template("card.md.j2")
        .render(
            facts=facts,
            title=model_name(facts),
            technique=technique(facts),
            messages=messages,
            prompt=render(tokenizer, messages),
            columns=_columns(facts),
            names={name: info.label for name, info in metrics.items()},
            arms=_arms(facts),
            measured=lambda metric, found: _measured(metric, found, metrics),
            comparisons=_comparisons(facts),
            level=f"{100 * (1 - verdict.policy['alpha']):g}%" if verdict else "",
            retention=_retention(facts),
            retention_mean=_retention_mean(facts),
            own=_own_arm(facts),
            labels=markdown.shortened(facts.task.labels),
            settings=_settings(facts),
            base=_base(facts),
            data=_data(facts),
        )
    )


def _example(facts: CardData) -> list[Message]:
    """Return the messages that the checkpoint was tuned on, with the inputs' names in place of a row's values."""
    blank = Example(id="", inputs={name: f"<{name}>" for name in facts.variables}, target="")
    return zero_shot_messages(facts.task, blank)


def _columns(facts: CardData) -> list[str]:
    if facts.verdict is None:
        return []
    known, metric = next(iter(facts.verdict.arms.values())).metrics, facts.verdict.metric
    shown = [name for name in (*quality_names(facts.verdict), *SHOWN) if name in known]
    return sorted(shown, key=lambda name: name != metric)


def _arms(facts: CardData) -> dict[str, ArmRecord]:
    """Return this checkpoint's arms and, to compare with, those of base; each group best first."""
    if facts.verdict is None:
        return {}
    metric = facts.verdict.metric
    shown = [(name, arm) for name, arm in facts.verdict.arms.items() if arm.checkpoint in (facts.name, BASE)]
    return dict(sorted(shown, key=lambda item: (item[1].checkpoint == BASE, -(item[1].metrics[metric].value or 0))))


def _own_arm(facts: CardData) -> tuple[str, ArmRecord] | None:
    """Return the checkpoint's arm with the prompt that it was tuned on; None where that was not run."""
    own = [(name, arm) for name, arm in _arms(facts).items() if arm.checkpoint == facts.name]
    return next(((name, arm) for name, arm in own if arm.answer == "fine_tune"), None)


def _measured(metric: str, found: Measurement, metrics: Mapping[str, MetricInfo] = METRICS) -> str:
    interval = compact_interval(metric, found, metrics)
    return format_value(metric, found.value, metrics) + (f" ({interval})" if interval else "")


def _comparisons(facts: CardData) -> list[dict[str, str]]:
    """Return the planned comparisons that this checkpoint's arms are part of, its own arm first."""
    if facts.verdict is None:
        return []
    arms, metrics = facts.verdict.arms, catalogue(facts.verdict)
    planned = [row for row in facts.verdict.comparisons if row.family == "decision"]
    ours = [row if arms[row.arm_a].checkpoint == facts.name else _reversed(row) for row in planned]
    return [_sentence(row, metrics[row.metric].label) for row in ours if arms[row.arm_a].checkpoint == facts.name]


def _reversed(row: Comparison) -> Comparison:
    """Return the same comparison the other way round."""
    return replace(
        row, arm_a=row.arm_b, arm_b=row.arm_a, difference=-row.difference, ci_low=-row.ci_high, ci_high=-row.ci_low
    )


def _sentence(row: Comparison, metric: str) -> dict[str, str]:
    return {
        "a": row.arm_a,
        "b": row.arm_b,
        "metric": metric,
        "difference": format_points(row.difference),
        "interval": f"{format_signed(row.ci_low)} to {format_signed(row.ci_high)}",
        "p": format_p_value(row.p_adjusted),
        "n": str(row.n),
    }


def _retention(facts: CardData) -> list[dict[str, str]]:
    base = facts.base_retention or {}
    return [
        {
            "task": task,
            "n": str(result.n),
            "base": format_percent(base[task].value) if task in base else NOT_MEASURED,
            "tuned": format_percent(result.value),
        }
        for task, result in (facts.retention or {}).items()
    ]


def _retention_mean(facts: CardData) -> dict[str, str]:
    """Return the mean over the suite, and its change against base, each with its interval; empty if not measured."""
    metrics = next((arm.metrics for arm in _arms(facts).values() if arm.checkpoint == facts.name), {})
    found = {name: metrics[name] for name in ("retention", "retention_change") if name in metrics}
    return {name: _measured(name, row) for name, row in found.items() if row.value is not None}


def _settings(facts: CardData) -> str:
    """Return what decides the weights as YAML, in the form of params.yaml."""
    config = facts.config
    return yaml.safe_dump(
        markdown.without_paths(
            {
                "seed": facts.checkpoint.seed,
                "task": to_builtins(config.task),
                "checkpoints": {facts.name: {"tuner": facts.checkpoint.tuner}},
            }
        ),
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )


def _data(facts: CardData) -> str:
    """Return where the examples are from, in words, with their licence where it is known."""
    source, fetched = facts.config.task.source, facts.config.data
    if source.hub:
        return f"https://huggingface.co/datasets/{source.hub} at {source.revision}, split {source.split}"
    name = str(markdown.without_paths(source.path))
    if Path(source.path).is_relative_to(Path("data", fetched.folder)):
        return f"{name}, from the Python package {fetched.package} {fetched.version} ({fetched.licence})"
    return name


def _base(facts: CardData) -> str:
    """Return where the base model is from, in words; a folder of this machine is not named."""
    source = facts.source
    if {"repo", "revision"} <= source.keys():
        return f"https://huggingface.co/{source['repo']} at {source['revision']}"
    if {"package", "version", "member"} <= source.keys():
        return f"{source['member']} of the Python package {source['package']} {source['version']}"
    arguments = {key: value for key, value in source.items() if key != "_target_"}
    named = ", ".join(f"{key} {value}" for key, value in markdown.without_paths(arguments).items())
    return named or "not recorded"
