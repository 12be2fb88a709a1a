"""The verdict as plain tables, for spreadsheets, `dvc metrics` and scripts."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from whether.compare.results import Results
from whether.records import ArmOutput, LearningCurve, OutputRow, Verdict


def metrics(verdict: Verdict) -> dict[str, dict[str, float]]:
    """Return arm → metric → value, measured ones only: metrics.json."""
    return {
        name: {metric: row.value for metric, row in arm.metrics.items() if row.value is not None}
        for name, arm in verdict.arms.items()
    }


def leaderboard(verdict: Verdict) -> str:
    """Return an arm a row as CSV: each metric's value, and its interval where it has one."""
    names = list(next(iter(verdict.arms.values())).metrics)
    columns = ["arm", "checkpoint", "prompt", "answer", f"dev_{verdict.metric}"]
    columns += [f"{metric}{part}" for metric in names for part in ("", "_ci_low", "_ci_high")]
    rows = []
    for name in verdict.ranking():
        arm = verdict.arms[name]
        row: list[Any] = [name, arm.checkpoint, arm.prompt, arm.answer, arm.dev[verdict.metric]]
        for metric in names:
            row += [arm.metrics[metric].value, arm.metrics[metric].ci_low, arm.metrics[metric].ci_high]
        rows.append(row)
    return _csv(columns, rows)


def comparisons(verdict: Verdict) -> str:
    """Return a pair of arms a row as CSV; columns are the keys of `whether.records.Comparison`."""
    rows = [vars(comparison) for comparison in verdict.comparisons]
    columns = list(rows[0]) if rows else ["arm_a", "arm_b"]
    return _csv(columns, [list(row.values()) for row in rows])


def learning_curve(curve: LearningCurve) -> str:
    """Return a number of labels and a seed a row as CSV: the primary metric of both ways on test."""
    rows = [
        [level.labels, seed, level.tuned.by_seed[place], level.prompting.by_seed[place]]
        for level in curve.levels
        for place, seed in enumerate(curve.seeds)
    ]
    return _csv(["labels", "seed", f"tuned_{curve.metric}", f"prompting_{curve.metric}"], rows)


def outputs(study: Results) -> Iterator[OutputRow]:
    """Yield each test example with every arm's answer to it."""
    for index, example in enumerate(study.examples):
        rows = {name: arm.test[index] for name, arm in study.arms.items()}
        arms = {name: ArmOutput(row.output, row.answer, row.score, row.valid) for name, row in rows.items()}
        yield OutputRow(example.id, dict(example.inputs), example.target, arms, example.group)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
