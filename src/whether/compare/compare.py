"""The verdict: load, measure, compare, decide, write.

Writes into artifacts/compare/:

verdict.json       `whether.records.Verdict`, the product's contract; docs/verdict.schema.json describes it
metrics.json       arm → metric → value on test, for `dvc metrics show`
leaderboard.csv    an arm a row, best on test first; each metric with its interval
comparisons.csv    a pair of arms a row
learning_curve.csv a number of labels and a seed a row: quality tuned and prompted (absent where not measured)
outputs.jsonl      a test example a line: inputs, target and every arm's answer, side by side
robustness.json    arm → `whether.records.Robustness`, of arms where it was measured
adherence.json     arm → `whether.records.Adherence`
curve_points.json  point of the learning curve → dev and test → arm → mean score

A first verdict, from the arms alone, is verdict.json in artifacts/quick/.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any, NamedTuple

from whether.compare import cost, measure, tables
from whether.compare.curve_points import Points, load_points, means
from whether.compare.decide import ArmSummary, Decision, Selection, comparisons, decide, select
from whether.compare.failures import failed_sentences
from whether.compare.interaction import interactions, unreported_interactions
from whether.compare.learning_curve import learning_curve
from whether.compare.provenance import provenance
from whether.compare.reasons import SeedVariation, collapsed_sentences, raced_sentences, reasons
from whether.compare.results import Results, load_results
from whether.compare.sample_size import labels_needed, needs_more_runs
from whether.config import BASE, Config, PolicyConfig
from whether.config.renamed import new_constraints
from whether.errors import ConfigError, near_matches
from whether.metrics.catalogue import METRICS, aspects
from whether.metrics.metric import Metric
from whether.records import (
    SCHEMA_VERSION,
    ArmRecord,
    BreakEven,
    Comparison,
    LearningCurve,
    Measurement,
    Verdict,
    to_builtins,
    write_csv,
    write_json,
    write_jsonl,
)
from whether.stats.groups import clustered
from whether.stats.inference import unbounded_mean_interval
from whether.stats.intervals import InferenceSettings, PairedDifference
from whether.stats.simultaneous import holm_differences

logger = logging.getLogger(__name__)


def compare(config: Config, *, artifacts: Path, folder: Path) -> None:
    """Compare every arm of `config` and write the verdict and its tables into `folder`.

    Raises RecordError for a record of an arm that is missing or broken.
    """
    study = load_results(config, artifacts)
    for name in config.pricing.person_hours.keys() - {*config.checkpoints, *config.prompts, *config.baselines}:
        logger.warning(
            "pricing.person_hours: %s is not a checkpoint, prompt or baseline of this run: not counted", name
        )
    points = load_points(config.curve, artifacts)
    verdict = reach_verdict(config, study, artifacts, points)
    write_json(folder / "verdict.json", verdict)
    write_json(folder / "curve_points.json", means(points))
    write_json(folder / "metrics.json", tables.metrics(verdict))
    write_csv(folder / "leaderboard.csv", tables.leaderboard(verdict))
    write_csv(folder / "comparisons.csv", map(vars, verdict.comparisons), columns=["arm_a", "arm_b"])
    if verdict.learning_curve and verdict.learning_curve.levels:
        write_csv(folder / "learning_curve.csv", tables.learning_curve(verdict.learning_curve))
    write_jsonl(folder / "outputs.jsonl", tables.outputs(study))
    arms = study.arms.items()
    write_json(folder / "robustness.json", {name: to_builtins(arm.robustness) for name, arm in arms if arm.robustness})
    write_json(folder / "adherence.json", {name: to_builtins(arm.adherence) for name, arm in arms if arm.adherence})


def first_verdict(config: Config, *, artifacts: Path, folder: Path) -> None:
    """Write the verdict that the arms alone give, into `folder`: no robustness, no benchmarks, no learning curve.

    What these would measure is null, and a constraint on it is named in the reasons as not checked yet. Raises
    RecordError for a record of an arm that is missing or broken.
    """
    study = load_results(config, artifacts, arms_alone=True)
    write_json(folder / "verdict.json", reach_verdict(config, study, artifacts, {}, is_first=True))


def reach_verdict(
    config: Config, study: Results, artifacts: Path, points: Points, *, is_first: bool = False
) -> Verdict:
    """Return the verdict on what was measured; `is_first`: constraints on what is not measured yet do not count."""
    # 1. What was measured of each arm.
    settings, policy = _inference(config), config.policy
    metric = _primary_metric(config, study)
    arms = {name: _arm_record(name, study, config, metric, settings) for name in study.arms}
    candidates = {
        name: measure.candidate(study.arms[name], record.metrics, record.dev, metric.name)
        for name, record in arms.items()
    }
    # 2. The comparisons: those that decide, and all other pairs, which only inform.
    unchecked = _unchecked(policy, arms) if is_first else []
    kept = {name: limit for name, limit in policy.constraints.items() if name not in unchecked}
    policy = dataclasses.replace(policy, constraints=kept)
    judged = compare_representatives(study, list(candidates.values()), metric, settings, policy)
    selection, decision = judged.selection, judged.decision
    others = [pair for pair in measure.every_pair(study) if pair not in judged.differences]
    exploratory = measure.differences(study, others, metric, settings)
    # 3. The verdict. The aspects are read off it, so they come last.
    quality = {name: record.metrics[metric.name] for name, record in arms.items()}
    curve = learning_curve(config, study, points, metric, settings)
    verdict = Verdict(
        answer=decision.answer,
        recommended_arm=decision.recommended,
        reasons=reasons(
            decision,
            selection,
            judged.family,
            quality=quality,
            baseline=judged.baseline,
            further=judged.further,
            metric=metric.info,
            policy=policy,
            retention_change=_retention_change(arms, decision.recommended),
            truncated=_truncated(study, decision.recommended),
            seeds=_seed_spread(study, curve, arms, decision.recommended),
            needs_runs=judged.needs_runs,
        )
        + collapsed_sentences(
            {name: measure.collapsed_to(arm, study) for name, arm in study.arms.items() if arm.tuned},
            [name for name, arm in study.arms.items() if study.checkpoints[arm.checkpoint].retried],
        )
        + raced_sentences(study.raced)
        + failed_sentences(study, artifacts)
        + [f"The constraint on {name} is not checked yet: it is measured after the arms." for name in unchecked]
        + study.profile.get("warnings", []),
        task=study.task.name,
        title=config.task.title or "",
        model=config.model.name,
        arms=arms,
        comparisons=judged.family + comparisons(holm_differences(exploratory), metric.name, "exploratory", policy),
        provenance=provenance(artifacts, config, dtype=study.dtype),
        further_labels=judged.further,
        metric=metric.name,
        baseline=judged.baseline,
        representatives={str(kind): candidate.name for kind, candidate in selection.representatives.items()},
        status=decision.status,
        excluded=selection.excluded,
        raced=study.raced,
        break_even=_break_even(selection, study, config),
        interactions=interactions(study, clustered(study.groups, settings)),
        unreported_interactions=unreported_interactions(study),
        training={
            name: cost.training_cost(checkpoint.training, config.pricing)
            for name, checkpoint in study.checkpoints.items()
            if checkpoint.tuned
        },
        policy=_policy(config.policy),
        pricing=_pricing(config),
        learning_curve=curve,
        retention={
            name: measure.task_retention(checkpoint, study.checkpoints[BASE], settings)
            for name, checkpoint in study.checkpoints.items()
            if checkpoint.tuned
        },
        metrics={name: found.info for name, found in study.metrics.items()},
        schema_version=SCHEMA_VERSION,
    )
    return dataclasses.replace(verdict, aspects=aspects(verdict))


def _unchecked(policy: PolicyConfig, arms: Mapping[str, ArmRecord]) -> list[str]:
    """Return the constrained metrics that were measured for no arm of a language model.

    A baseline's own measurements, such as its size, are all there before any benchmark.
    """
    measured = [arm.metrics for arm in arms.values() if arm.answer != "neither"]
    return [
        name
        for name, limit in policy.constraints.items()
        if limit and limit.limits and all(name not in metrics or metrics[name].value is None for metrics in measured)
    ]


def _policy(policy: PolicyConfig) -> dict[str, Any]:
    """Return the policy, with those constraints that are set."""
    values = dataclasses.asdict(policy)
    return values | {"constraints": new_constraints(values["constraints"])}


def _pricing(config: Config) -> dict[str, Any]:
    """Return the price list, with the prices of served models by checkpoint."""
    served = {
        name: {"model": made.served.model, **dataclasses.asdict(made.served.price)}
        for name, made in config.checkpoints.items()
        if made.served and made.served.price
    }
    return dataclasses.asdict(config.pricing) | ({"served": served} if served else {})


class TestComparison(NamedTuple):
    """What the test split decides."""

    selection: Selection
    differences: dict[tuple[str, str], PairedDifference]
    """Of every pair of representatives."""
    family: list[Comparison]
    baseline: float
    """The metric of always giving the most frequent answer."""
    decision: Decision
    further: int | None
    needs_runs: bool
    """Whether it is for want of training runs that further labels would not settle it."""


def compare_representatives(
    study: Results, candidates: Sequence[ArmSummary], metric: Metric, settings: InferenceSettings, policy: PolicyConfig
) -> TestComparison:
    """Select representatives, compare them on test and decide."""
    selection = select(
        candidates, policy.constraints, METRICS | {name: row.info for name, row in study.metrics.items()}
    )
    representatives = list(selection.representatives.values())
    names = [candidate.name for candidate in representatives]
    planned = [pair for pair in measure.every_pair(study) if set(pair) <= set(names)]
    found = measure.simultaneous(study, planned, metric, settings)
    family = comparisons(found, metric.name, "decision", policy)
    differences = {pair: row.estimate for pair, row in found.items()}
    baseline = measure.majority_baseline(study.task, metric, [example.target for example in study.examples])
    unit = clustered(study.groups, settings)
    lows = {name: measure.quality_low(study.arms[name], study.task, metric, unit) for name in names}
    decision = decide(selection, family, lows, baseline, policy)
    further = labels_needed(decision.blocking, representatives, differences, policy, settings.seed)
    more_runs = further is None and needs_more_runs(
        decision.blocking, representatives, differences, policy, settings.seed
    )
    return TestComparison(selection, differences, family, baseline, decision, further, more_runs)


def _retention_change(arms: Mapping[str, ArmRecord], recommended: str | None) -> Measurement | None:
    """Return what tuning did to the recommended arm's general ability; None where nothing was tuned."""
    arm = arms.get(recommended or "")
    return arm.metrics["retention_change"] if arm and arm.answer in ("fine_tune", "both") else None


def _seed_spread(
    study: Results, curve: LearningCurve | None, arms: Mapping[str, ArmRecord], recommended: str | None
) -> SeedVariation | None:
    """Return how the recommended checkpoint varies with the seed: over its training runs, or those of its curve."""
    arm = arms.get(recommended or "")
    if arm is not None and arm.by_run:
        labels = study.checkpoints[arm.checkpoint].training.labels_used
        return SeedVariation(arm.checkpoint, len(arm.by_run), labels, stdev(arm.by_run), is_in_intervals=True)
    if curve is None or not curve.levels or arm is None or arm.checkpoint != curve.checkpoint:
        return None
    level = curve.levels[-1]
    values = level.tuned.by_seed
    return SeedVariation(arm.checkpoint, len(values), level.labels, stdev(values)) if len(values) > 1 else None


def _truncated(study: Results, recommended: str | None) -> int:
    """Return how many requests of the retention suite the recommended arm's checkpoint answered only in part."""
    arm = study.arms.get(recommended or "")
    return study.checkpoints[arm.checkpoint].benchmark.truncated_requests or 0 if arm else 0


def _primary_metric(config: Config, study: Results) -> Metric:
    """Return the metric that decides. Raises ConfigError for one that the task's output does not have."""
    known = study.metrics
    metric = config.policy.metric or study.task.metric or next(iter(known), "")
    if metric not in known:
        raise ConfigError(
            f"policy.metric: {metric!r} is not measured for the task {study.task.name}, whose output is"
            f" {study.task.output}{near_matches(metric, known)}"
        )
    return known[metric]


def _inference(config: Config) -> InferenceSettings:
    return InferenceSettings(level=1 - config.policy.alpha, resamples=config.policy.resamples, seed=config.seed)


def _arm_record(name: str, study: Results, config: Config, metric: Metric, settings: InferenceSettings) -> ArmRecord:
    arm = study.arms[name]
    return ArmRecord(
        checkpoint=arm.checkpoint,
        prompt=arm.prompt,
        answer=measure.arm_kind(arm),
        metrics=measure.measure(arm, study, config, settings),
        dev=measure.dev_quality(arm, study),
        by_run=measure.quality_by_run(arm, study.task, metric),
        failed=sum(bool(row.error) for row in [*arm.dev, *arm.test]),
        leniencies=measure.leniencies(arm),
    )


def _break_even(selection: Selection, study: Results, config: Config) -> list[BreakEven]:
    """Compare the tuned representatives with the prompt arm, if both are there."""
    prompt = selection.representatives.get("prompt")
    tuned = [selection.representatives[kind] for kind in ("fine_tune", "both") if kind in selection.representatives]
    if prompt is None:
        return []

    def expense(name: str) -> cost.ArmCost:
        arm = study.arms[name]
        return cost.expense(arm, study.checkpoints[arm.checkpoint], study.pool, config.pricing)

    def running(name: str) -> Any:
        arm = study.arms[name]
        return 1000 * cost.request_usd(arm, study.checkpoints[arm.checkpoint], config.pricing)

    settings = clustered(study.groups, _inference(config))
    return [
        cost.break_even(
            arm.name, prompt.name, (expense(arm.name), expense(prompt.name)), config.pricing, config.policy,
            running=unbounded_mean_interval(running(arm.name) - running(prompt.name), settings),
        )
        for arm in tuned
    ]  # fmt: skip
