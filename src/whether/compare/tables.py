"""The verdict as plain tables, for spreadsheets, `dvc metrics` and scripts."""

from collections.abc import Iterator
from typing import Any

from whether.compare.results import Results
from whether.records import ArmOutput, LearningCurve, OutputRow, Verdict


def metrics(verdict: Verdict) -> dict[str, dict[str, float]]:
    """Return arm → metric → value, measured ones only: metrics.json."""
    return {
        name: {metric: row.value for metric, row in arm.metrics.items() if row.value is not None}
        for name, arm in verdict.arms.items()
    }


def leaderboard(verdict: Verdict) -> Iterator[dict[str, Any]]:
    """Yield an arm a row: each metric's value, and its interval where it has one."""
    for name in verdict.ranking():
        arm = verdict.arms[name]
        row: dict[str, Any] = {"arm": name, "checkpoint": arm.checkpoint, "prompt": arm.prompt, "answer": arm.answer}
        row |= {f"dev_{verdict.metric}": arm.dev[verdict.metric]}
        for metric, found in arm.metrics.items():
            row |= {metric: found.value, f"{metric}_ci_low": found.ci_low, f"{metric}_ci_high": found.ci_high}
        yield row


def learning_curve(curve: LearningCurve) -> Iterator[dict[str, Any]]:
    """Yield a number of labels and a seed a row: the primary metric of both ways, and of baselines, on test."""
    for level in curve.levels:
        for place, seed in enumerate(curve.seeds):
            ways = {"tuned": level.tuned, "prompting": level.prompting, **level.baselines}
            scores = {f"{way}_{curve.metric}": found.by_seed[place] for way, found in ways.items()}
            yield {"labels": level.labels, "seed": seed, **scores}


def outputs(study: Results) -> Iterator[OutputRow]:
    """Yield each test example with every arm's answer to it."""
    for index, example in enumerate(study.examples):
        rows = {name: arm.test[index] for name, arm in study.arms.items()}
        arms = {name: ArmOutput(row.output, row.answer, row.score, row.valid, row.error) for name, row in rows.items()}
        yield OutputRow(example.id, dict(example.inputs), example.target, arms, example.group)
