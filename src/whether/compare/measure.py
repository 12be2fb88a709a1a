"""Every number about an arm, with unit, direction and interval where there is one; and the differences between arms."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from whether.compare.cost import costs, seconds_per_request
from whether.compare.decide import ArmSummary, approach_of, pairs
from whether.compare.results import Arm, Checkpoint, Results
from whether.config import BASE, Config
from whether.metrics.catalogue import ROBUSTNESS, measurement
from whether.metrics.metric import Metric
from whether.outputs.kinds import output_of
from whether.outputs.output import ScoredAnswer, answers_and_targets
from whether.records import Approach, Measurement, Prediction, Task, TaskRetention
from whether.records.collapse import frequent_answer
from whether.stats.groups import clustered
from whether.stats.inference import mean_interval, score_difference, stratified_mean_interval
from whether.stats.intervals import Floats, InferenceSettings, Interval, PairedDifference, rate_interval
from whether.stats.simultaneous import FamilyDifference, simultaneous_differences
from whether.stats.totals import estimate_difference, estimate_interval


def scores(predictions: Sequence[Prediction]) -> Floats:
    """Return the score of each answer, shape (n,)."""
    return np.array([prediction.score for prediction in predictions], dtype=np.float64)


def run_scores(arm: Arm) -> Floats:
    """Return the score of each answer to test, shape (n,), or (runs, n) where its checkpoint was trained again."""
    found: Floats = _by_run([scores(answers.test) for answers in arm.runs])
    return found


def _by_run(values: Sequence[Any]) -> Any:
    return np.stack(values) if len(values) > 1 else values[0]


def totals_table(task: Task, metric: Metric, rows: Sequence[ScoredAnswer]) -> Floats:
    """Return what each answer adds up to, shape (n, k)."""
    return metric.table(task, *answers_and_targets(output_of(task), rows))


def quality(task: Task, metric: Metric, rows: Sequence[ScoredAnswer]) -> float:
    """Return a metric of an arm's answers to one split."""
    return metric.estimate(totals_table(task, metric, rows))


def majority_baseline(task: Task, metric: Metric, targets: Sequence[str]) -> float:
    """Return the metric of giving the most frequent target of the test split as every answer."""
    equal = [output_of(task).canonical(target) for target in targets]
    frequent = Counter(equal).most_common(1)[0][0]
    return metric.estimate(metric.table(task, [frequent] * len(equal), equal))


def differences(
    study: Results, names: Sequence[tuple[str, str]], metric: Metric, settings: InferenceSettings
) -> dict[tuple[str, str], PairedDifference]:
    """Return the paired difference of the primary metric on test for each pair of arms."""
    settings = clustered(study.groups, settings)
    totals = {
        name: _run_totals(study.arms[name], study.task, metric) for name in {name for pair in names for name in pair}
    }
    return {(a, b): estimate_difference(totals[a], totals[b], metric, settings) for a, b in names}


def simultaneous(
    study: Results, names: Sequence[tuple[str, str]], metric: Metric, settings: InferenceSettings
) -> dict[tuple[str, str], FamilyDifference]:
    """Return the same for every pair of some arms, with intervals and p-values that hold for all pairs together."""

    def at_level(pair: tuple[str, str], level: float) -> Interval:
        return differences(study, [pair], metric, settings._replace(level=level))[pair].interval

    return simultaneous_differences(differences(study, names, metric, settings), at_level, settings.level)


def measure(arm: Arm, study: Results, config: Config, settings: InferenceSettings) -> dict[str, Measurement]:
    """Return every metric of an arm that applies to the task; a value that no stage measured is None."""
    documents, settings = settings, clustered(study.groups, settings)
    checkpoint, test = study.checkpoints[arm.checkpoint], arm.test
    found = {name: _test_quality(arm, study.task, metric, settings) for name, metric in study.metrics.items()}
    is_failed = [np.array([bool(row.error) for row in answers.test], dtype=np.float64) for answers in arm.runs]
    found["failed_rate"] = measurement("failed_rate", *_mean(_by_run(is_failed), settings))
    # What is said of outputs is of the rows that were answered, in every training run.
    answered = [place for place in range(len(test)) if not any(answers.test[place].error for answers in arm.runs)]
    unit = clustered([study.groups[place] for place in answered], documents)
    is_valid = [np.array([answers.test[n].valid for n in answered], dtype=np.float64) for answers in arm.runs]
    found["valid_rate"] = measurement("valid_rate", *(_mean(_by_run(is_valid), unit) if answered else (None,)))
    is_lenient = [np.array([bool(answers.test[n].leniencies) for n in answered], dtype=float) for answers in arm.runs]
    found["lenient_rate"] = measurement("lenient_rate", *(_mean(_by_run(is_lenient), unit) if answered else (None,)))
    columns: dict[str, Callable[[Prediction], float | None]] = {
        "input_tokens": lambda row: row.input_tokens,
        "computed_tokens": lambda row: row.computed_tokens,
        "output_tokens": lambda row: row.output_tokens,
        "retrieval_recall": lambda row: row.retrieved,
    }
    for name, column in columns.items():
        values = [column(test[place]) for place in answered]
        known = bool(values) and None not in values
        found[name] = measurement(name, *(_mean(np.array(values, dtype=np.float64), unit) if known else (None,)))
    seconds = None if checkpoint.served else seconds_per_request(arm)  # of a served one they are no machine time
    found["seconds_per_request"] = measurement("seconds_per_request", seconds, n=len(test))
    found |= costs(arm, checkpoint, study.pool, settings, config)
    found["changed_outputs"] = measurement("changed_outputs", *_changed(arm, study, settings))
    found["latency_p50"] = measurement("latency_p50", arm.serving.latency_p50)
    found["latency_p95"] = measurement("latency_p95", arm.serving.latency_p95)
    found |= _general(checkpoint, study.checkpoints[BASE], documents)
    found["flexibility"] = _flexibility(checkpoint, study.task, documents)
    if output_of(study.task).classes is not None:
        unit = clustered([study.unseen_groups.get(row.id) for row in arm.unseen], documents)
        unseen = _mean(scores(arm.unseen), unit) if arm.unseen else (None,)
        found["unseen_labels"] = measurement("unseen_labels", *unseen)
    found |= _robustness(arm)
    if arm.serving.peak_memory is not None:
        found["peak_memory"] = measurement("peak_memory", arm.serving.peak_memory)
    return found


def collapsed_to(arm: Arm, study: Results) -> tuple[str, float] | None:
    """Return the one answer that an arm gives to nearly everything, and its share on test; None where it does not.

    Label tasks only.
    """
    kind = output_of(study.task)
    if kind.classes is None:
        return None
    targets = [kind.canonical(example.target) for example in study.examples]
    found = frequent_answer([row.answer for row in arm.test], targets)
    return (str(found.answer), found.share) if found.collapsed else None


def quality_low(arm: Arm, task: Task, metric: Metric, settings: InferenceSettings) -> float:
    """Return the lower bound of a metric on test."""
    return _test_quality(arm, task, metric, settings).ci_low or 0.0


def _test_quality(arm: Arm, task: Task, metric: Metric, settings: InferenceSettings) -> Measurement:
    totals = _run_totals(arm, task, metric)
    return metric.measurement(metric.estimate(totals), estimate_interval(totals, metric, settings), len(arm.test))


def _run_totals(arm: Arm, task: Task, metric: Metric) -> Floats:
    """Return the totals of answers to test, shape (n, k), or (runs, n, k) where its checkpoint was trained again."""
    found: Floats = _by_run([totals_table(task, metric, answers.test) for answers in arm.runs])
    return found


def quality_by_run(arm: Arm, task: Task, metric: Metric) -> list[float]:
    """Return the quality on test of each training run; empty where there is one, or none."""
    return [quality(task, metric, answers.test) for answers in arm.runs] if arm.repeats else []


def _robustness(arm: Arm) -> dict[str, Measurement]:
    """Return what other formats and samples show, on a part of dev; it has no interval."""
    measured = arm.robustness
    examples = measured.examples if measured else None
    return {name: measurement(name, getattr(measured, name) if measured else None, n=examples) for name in ROBUSTNESS}


def candidate(arm: Arm, metrics: dict[str, Measurement], dev: dict[str, float], metric: str) -> ArmSummary:
    """Return an arm as the decision sees it: quality, valid outputs and recall on dev, the rest as measured."""
    return ArmSummary(
        name=arm.name,
        kind=arm_kind(arm),
        dev=dev[metric],
        tokens=_tokens(arm.dev),
        usd_per_month=metrics["usd_per_month"].value or 0.0,
        runs=len(arm.runs) if arm.tuned else None,
        # Constraints are part of choosing, so quality, valid outputs and recall are those on dev.
        metrics={name: row.value for name, row in metrics.items()} | dev | {"retrieval_recall": _recall(arm.dev)},
    )


def _recall(predictions: Sequence[Prediction]) -> float | None:
    """Return the share of examples whose answer the prompt showed; None for a prompt without passages."""
    found = [row.retrieved for row in predictions if row.retrieved is not None]
    return sum(found) / len(found) if found else None


def _tokens(predictions: Sequence[Prediction]) -> float:
    """Return the mean of computed and written tokens; infinity if not all are known, so that a tie is lost."""
    counts = [(row.computed_tokens, row.output_tokens) for row in predictions if not row.error]
    known = [computed + written for computed, written in counts if computed is not None and written is not None]
    return sum(known) / len(known) if known and len(known) == len(counts) else math.inf


def plain_arm(study: Results) -> Arm | None:
    """Return base with the prompt that is not engineered, of several with the one that has the best mean score on dev.

    None where no such prompt was run.
    """
    found = [arm for arm in study.arms.values() if arm.checkpoint == BASE and not arm.engineered]
    return max(found, key=lambda arm: float(np.mean([row.score for row in arm.dev])), default=None)


def arm_kind(arm: Arm) -> Approach:
    """Return the answer that choosing this arm would mean."""
    return "neither" if arm.baseline else approach_of(arm.tuned, arm.engineered)


def leniencies(arm: Arm) -> dict[str, float]:
    """Return the share of outputs on test, over all training runs, whose answer takes each leniency, most first."""
    rows = [row for answers in arm.runs for row in answers.test]
    needed = Counter(name for row in rows for name in row.leniencies)
    return {name: count / len(rows) for name, count in needed.most_common()}


def dev_quality(arm: Arm, study: Results) -> dict[str, float]:
    """Return the quality metrics of an arm on dev, the mean of its training runs."""
    devs = [answers.dev for answers in arm.runs]
    valid = valid_share([row for dev in devs for row in dev])
    found = {
        name: float(np.mean([quality(study.task, metric, dev) for dev in devs]))
        for name, metric in study.metrics.items()
    }
    return found | {"valid_rate": valid}


def valid_share(predictions: Sequence[Prediction]) -> float:
    """Return the share of outputs with the right form, among the rows that were answered; 0 where none was."""
    answered = [row.valid for row in predictions if not row.error]
    return sum(answered) / len(answered) if answered else 0.0


def retention_changes(
    checkpoint: Checkpoint, base: Checkpoint, settings: InferenceSettings
) -> dict[str, PairedDifference]:
    """Return for each task of the retention suite what a tuned checkpoint gained on the same documents."""
    tuned, before = _documents(checkpoint), _documents(base)
    changes = {}
    for task in tuned.keys() & before.keys():
        shared = sorted(tuned[task].keys() & before[task].keys())
        after, was = (np.array([rows[task][key] for key in shared]) for rows in (tuned, before))
        changes[task] = score_difference(after, was, settings)
    return changes


def task_retention(checkpoint: Checkpoint, base: Checkpoint, settings: InferenceSettings) -> dict[str, TaskRetention]:
    """Return what a tuned checkpoint scores on each task of the retention suite, and what tuning changed there."""
    changes, found = retention_changes(checkpoint, base, settings), {}
    for task, result in checkpoint.results.items():
        before, change = base.results.get(task), changes.get(task)
        found[task] = TaskRetention(
            tuned=result.value,
            base=before.value if before else None,
            n=result.n,
            difference=change.difference if change else None,
            ci_low=change.interval.low if change else None,
            ci_high=change.interval.high if change else None,
        )
    return found


def _changed(arm: Arm, study: Results, settings: InferenceSettings) -> tuple[Any, ...]:
    """Return the share of answers that differ from base's, its interval and count; None where base has no such arm."""
    base = study.arms.get(f"{BASE}-{arm.prompt}")
    if not arm.tuned or base is None:
        return (None,)
    differs = [ours.output.strip() != theirs.output.strip() for ours, theirs in zip(arm.test, base.test, strict=True)]
    return _mean(np.array(differs, dtype=np.float64), settings)


def _general(checkpoint: Checkpoint, base: Checkpoint, settings: InferenceSettings) -> dict[str, Measurement]:
    """Return general ability, speed and size of a checkpoint."""
    numbers = vars(checkpoint.benchmark)
    found = {
        name: measurement(name, numbers[name]) for name in ("perplexity", "tokens_per_second", "peak_memory", "disk")
    }
    found["retention"] = _retention(checkpoint, settings)
    found["retention_change"] = _retention_change(checkpoint, base, settings)
    return found


def _flexibility(checkpoint: Checkpoint, task: Task, settings: InferenceSettings) -> Measurement:
    """Return the accuracy on another task; None where the benchmark's other task is the run's own."""
    other = checkpoint.benchmark.other
    if other is None or other.task == task.name:
        return measurement("flexibility", None)
    interval = rate_interval(other.accuracy * other.n, other.n, settings.level)
    return measurement("flexibility", other.accuracy, interval, other.n)


def _retention(checkpoint: Checkpoint, settings: InferenceSettings) -> Measurement:
    strata = [np.array(list(rows.values())) for rows in _documents(checkpoint).values()]
    interval = stratified_mean_interval(strata, settings) if _one_stratum_a_task(checkpoint) else None
    return measurement("retention", checkpoint.benchmark.retention, interval, len(checkpoint.samples) or None)


def _retention_change(checkpoint: Checkpoint, base: Checkpoint, settings: InferenceSettings) -> Measurement:
    """Return retention minus that of base, documents paired, each task resampled by itself."""
    after, before = checkpoint.benchmark.retention, base.benchmark.retention
    if after is None or before is None:
        return measurement("retention_change", None)
    if not checkpoint.tuned:
        return measurement("retention_change", 0.0)
    own, reference = _documents(checkpoint), _documents(base)
    paired = [
        np.array([score - reference[task][key] for key, score in rows.items() if key in reference.get(task, {})])
        for task, rows in own.items()
    ]
    complete = _one_stratum_a_task(checkpoint) and sum(map(len, paired)) == len(checkpoint.samples)
    interval = stratified_mean_interval(paired, settings) if complete else None
    return measurement("retention_change", after - before, interval, sum(map(len, paired)) or None)


def _one_stratum_a_task(checkpoint: Checkpoint) -> bool:
    """Whether the mean over strata is `retention`: lm-eval's groups (mmlu) have many strata for one entry."""
    return {sample.task for sample in checkpoint.samples} == checkpoint.results.keys()


def _documents(checkpoint: Checkpoint) -> dict[str, dict[int, float]]:
    """Return task → document → score."""
    found: dict[str, dict[int, float]] = {}
    for row in checkpoint.samples:
        found.setdefault(row.task, {})[row.doc_id] = row.score
    return found


def _mean(values: Floats, settings: InferenceSettings) -> tuple[float, Interval | None, int]:
    return float(values.mean()), mean_interval(values, settings), values.shape[-1]


def every_pair(study: Results) -> list[tuple[str, str]]:
    """Return every pair of arms once, in the order of config."""
    return pairs(list(study.arms))
