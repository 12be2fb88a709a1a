"""Challenger against champion, on the same examples, by the verdict's statistics.

A challenger is promoted if on the fixed test split and on the recent window it is not worse than the champion by the
margin or more, and is better on one of them or costs less from now on. What has been paid to build either no longer
counts; what running and retraining cost does.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from whether.compare.measure import quality, totals_table
from whether.config import GateConfig, PolicyConfig
from whether.metrics.format import format_usd
from whether.metrics.metric import Metric
from whether.records import BundleRecord, Example, GateConclusion, GateRecord, GateSide, Prediction, Task, Verdict
from whether.stats.groups import clustered
from whether.stats.inference import holm
from whether.stats.intervals import InferenceSettings, PairedDifference, normal_quantile
from whether.stats.totals import estimate_difference


class PairedAnswers(NamedTuple):
    """Examples, and the answers of both, in the same order."""

    name: str
    """`test` or `recent`."""
    examples: Sequence[Example]
    champion: Sequence[Prediction]
    challenger: Sequence[Prediction]


def decide_promotion(
    champion: BundleRecord, challenger: BundleRecord, verdict: Verdict, sheets: Sequence[PairedAnswers], *,
    task: Task, metric: Metric, policy: PolicyConfig, gate: GateConfig, settings: InferenceSettings,
) -> GateRecord:  # fmt: skip
    """Return whether the challenger takes over. `verdict` is the one that recommended it, by `metric`."""
    # 1. Nothing to compare.
    if champion.id == challenger.id:
        return GateRecord("same", f"the pipeline made {champion.arm} again, which is the champion", promote=False)
    if challenger.arm in verdict.excluded:
        return GateRecord("constraint", verdict.excluded[challenger.arm], promote=False)
    # 2. The difference on each set of examples that is large enough, corrected for there being several.
    min_rows = {"test": 2, "recent": gate.min_recent_rows}
    looked_at = [sheet for sheet in sheets if len(sheet.examples) >= min_rows[sheet.name]]
    found = [_difference(sheet, task, metric, settings) for sheet in looked_at]
    adjusted = holm(np.array([difference.p_value for difference in found])).tolist()
    sides = [
        GateSide(
            name="recent" if sheet.name == "recent" else "test",
            champion=quality(task, metric, sheet.champion),
            challenger=quality(task, metric, sheet.challenger),
            difference=difference.difference,
            ci_low=difference.interval.low,
            ci_high=difference.interval.high,
            p_adjusted=p_adjusted,
            n=difference.n,
        )
        for sheet, difference, p_adjusted in zip(looked_at, found, adjusted, strict=True)
    ]
    # 3. The decision. Costs count only between arms that are made in different ways.
    costs = _monthly(champion, verdict, policy), _monthly(challenger, verdict, policy)
    margins = {"test": gate.margin or policy.margin, "recent": gate.recent_margin}
    decided = _decide(sides, margins, policy, costs if champion.recipe != challenger.recipe else (costs[1], costs[1]))
    needed = None
    if decided[0] == "undecided":
        pairs = zip(sides, found, strict=True)
        needed = _sample_size([(s, d) for s, d in pairs if s.ci_low <= -margins[s.name]], margins, settings)
    conclusion, reason = decided
    return GateRecord(
        conclusion=conclusion,
        reason=f"{reason} {' '.join(map(_describe_side, sides))}".strip(),
        promote=conclusion in ("better", "cheaper"),
        sides=sides,
        usd_champion=costs[0],
        usd_challenger=costs[1],
        labels_needed=needed,
    )


def _decide(
    sides: Sequence[GateSide], margins: dict[str, float], policy: PolicyConfig, costs: tuple[float, float]
) -> tuple[GateConclusion, str]:
    worse = [side.name for side in sides if side.ci_high < 0]
    unsure = [side.name for side in sides if side.ci_low <= -margins[side.name]]
    better = [side.name for side in sides if side.ci_low > 0 and side.p_adjusted < policy.alpha]
    if any(name in unsure for name in worse):
        return "worse", f"The challenger is worse than the champion ({_where(worse)})."
    if unsure:
        limits = " and ".join(f"{100 * margins[name]:g} points {_where([name])}" for name in unsure)
        return "undecided", f"A loss of {limits} cannot be ruled out, so the champion stays."
    if better:
        return "better", f"The challenger is better ({_where(better)}), and not worse by the margin elsewhere."
    if costs[1] < costs[0] * (1 - policy.cost_margin):
        return "cheaper", (
            f"The challenger is not worse by the margin, and costs {format_usd(costs[1])} a month from now on, against"
            f" {format_usd(costs[0])}."
        )
    return "undecided" if not sides else "same", "The challenger is neither better nor cheaper: the champion stays."


def _where(names: Sequence[str]) -> str:
    phrases = {"test": "on the fixed test split", "recent": "on the recent window"}
    return " and ".join(phrases[name] for name in names)


def _describe_side(side: GateSide) -> str:
    where = "Fixed test split" if side.name == "test" else "Recent window"
    return (
        f"{where}: {side.challenger:.1%} against {side.champion:.1%},"
        f" {100 * side.difference:+.1f} points ({100 * side.ci_low:+.1f} to {100 * side.ci_high:+.1f}),"
        f" {side.n} examples."
    )


def _difference(sheet: PairedAnswers, task: Task, metric: Metric, settings: InferenceSettings) -> PairedDifference:
    unit = clustered([example.group for example in sheet.examples], settings)
    ours, theirs = (totals_table(task, metric, rows) for rows in (sheet.challenger, sheet.champion))
    return estimate_difference(ours, theirs, metric, unit)


def _monthly(bundle: BundleRecord, verdict: Verdict, policy: PolicyConfig) -> float:
    """Return what a month costs from now on: requests at the policy's volume, and retraining.

    Where the last pipeline run measured the same arm, its times count: they come from the same machine and the same
    pipeline run as the other's.
    """
    now = verdict.arms.get(bundle.arm)
    measured = {name: found.value for name, found in now.metrics.items()} if now else dict(bundle.metrics)
    running = (measured.get("usd_per_1k") or 0.0) * policy.monthly_requests / 1000
    retraining = (measured.get("usd_to_retrain") or 0.0) / policy.retrain_months if policy.retrain_months else 0.0
    return running + retraining


def _sample_size(
    sides: Sequence[tuple[GateSide, PairedDifference]], margins: dict[str, float], settings: InferenceSettings
) -> int | None:
    """Return about how many more rows would rule the margin out, if the differences stay; None: no number would."""
    z, needed = normal_quantile(settings.level), 0
    for side, found in sides:
        room = margins[side.name] + side.difference
        if room <= 0:
            return None
        needed = max(needed, math.ceil((z * found.deviation / room) ** 2) - side.n)
    return max(needed, 1)
