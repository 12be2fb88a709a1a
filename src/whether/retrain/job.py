"""A retraining run: lock, take in, triggers, pipeline, gate, promote or keep, report.

Whichever step a run is killed in, the next one starts at the first step and has the same result: rows that were taken
in are known, finished stages are in DVC's cache, a bundle is made under the same name, and the champion is one file
that was replaced or was not.
"""

import logging
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from whether.bundle.bundle import Bundle, load_bundle, make_bundle
from whether.bundle.champion import promote, prune, read_champion_or_none
from whether.bundle.process import BundleProcess
from whether.config import Config, write_params
from whether.errors import RecordError, WhetherError
from whether.intake import inbox
from whether.intake.describe import all_rows_rejected, attention_messages, describe_intake
from whether.metrics.metric import metric_of
from whether.prepare.collected import collected_file
from whether.records import (
    ARTIFACTS,
    DATA,
    Champion,
    CollectedRow,
    Example,
    Finding,
    GateRecord,
    IntakeCounts,
    MeanScore,
    Outcome,
    Prediction,
    RetrainingRun,
    Task,
    Verdict,
    named_write_errors,
    read_json,
    read_jsonl,
    read_runs,
    write_json,
    write_runs,
)
from whether.repository import versions
from whether.repository.repro import dvc_repro
from whether.retrain import gate, hooks
from whether.retrain.evidence import RunContext, champion_scores, evaluate_triggers
from whether.sources.fetch import fetch_all
from whether.stats.intervals import InferenceSettings, rate_interval

logger = logging.getLogger(__name__)

COMMITTED = ("data.dvc", "dvc.lock", "params.yaml", "code.yaml")


@dataclass
class RunState:
    """What a retraining run has found and done so far."""

    config: Config
    folder: Path
    number: int
    now: datetime
    runs: list[RetrainingRun]
    """Before this one."""
    intake: IntakeCounts = field(default_factory=IntakeCounts)
    findings: list[Finding] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    challenger_trained: bool = False
    challenger: str | None = None
    gate: GateRecord | None = None
    champion_new: MeanScore | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    step: str = ""

    @property
    def log(self) -> Path:
        """The pipeline's output in this run."""
        return self.folder / "logs" / f"{self.number:06d}.log"

    @property
    def context(self) -> RunContext:
        """Which run this is, and those before it."""
        return RunContext(self.number, self.now, self.runs)


def start(config: Config, clock: datetime) -> RunState:
    """Return the state of a new run. Time never goes back: where the clock did, the last run's end counts as now."""
    folder = Path(config.retrain.folder)
    runs = read_runs(folder)
    latest = max((datetime.fromisoformat(past.ended) for past in runs), default=clock)
    work = RunState(config, folder, runs[-1].number + 1 if runs else 1, max(clock, latest), runs)
    if latest > clock + timedelta(seconds=1):
        work.attention.append(
            f"the clock says {clock.isoformat(timespec='seconds')}, and the last run ended at"
            f" {latest.isoformat(timespec='seconds')}: it went back, and that time counts as now"
        )
    return work


def dry_run(work: RunState, *, forced: bool = False) -> list[str]:
    """Return what a run would do and why, without doing it: sentences."""
    lines = list(work.attention)
    if work.config.retrain.collect:
        lines.append(f"would first run {work.config.retrain.collect[0]}, which fetches rows into the inbox")
    plan = inbox.plan_intake(work.config, work.number, work.now)
    work.intake = plan.counts
    lines.append(describe_intake(plan.counts))
    if _base_model_missing(work.folder):
        lines.append("would make artifacts/model again, which is missing; without it no trigger can be evaluated now")
        return lines
    lines += [f"would stay in the inbox, whose name is not that of rows: {entry.name}" for entry in plan.left[:10]]
    lines += [f"to quarantine: {row.file}, line {row.line}: {row.reason}" for row in plan.quarantined[:10]]
    process = BundleProcess(work.folder, keep=False)
    work.findings = evaluate_triggers(work.config, work.folder, work.context, plan.rows, process)
    lines += [f"{'fires' if found.fired else 'quiet'}: {found.trigger}: {found.reason}" for found in work.findings]
    reasons = _reasons(work, forced)
    if reasons:
        lines.append(f"would run the pipeline and put its recommended arm before the gate: {'; '.join(reasons)}")
    else:
        lines.append("would do nothing more")
    return lines


def run(work: RunState, text: str, *, forced: bool = False) -> RetrainingRun:
    """Execute a retraining run and record it. `text` is params.yaml for the pipeline, which runs if a trigger fires.

    Raises WhetherError where not even the record can be written; every other failure is a run with that outcome.
    """
    config, started, champion = work.config, time.time(), _ChampionState()
    try:
        outcome, reason = _run_steps(work, text, forced)
    except Exception as error:  # noqa: BLE001 - whatever ends a run, it leaves its record
        outcome, reason = "failed", f"{work.step}: {_explained(error, work.log)}"
    try:
        champion = _champion_state(work)
    except Exception as error:  # noqa: BLE001 - the same
        explained = _explained(error, work.log)
        reason = f"{reason}; and the champion: {explained}" if outcome == "failed" else f"champion: {explained}"
        outcome = "failed"
    if outcome == "failed":
        logger.error("failed while at %s", reason)
    commit = _commit(work, outcome, reason) if outcome != "failed" else None
    record = RetrainingRun(
        number=work.number,
        started=work.now.isoformat(timespec="seconds"),
        ended=(work.now + timedelta(seconds=time.time() - started)).isoformat(timespec="seconds"),
        outcome=outcome,
        reason=reason,
        intake=work.intake,
        findings=work.findings,
        attention=work.attention,
        challenger_trained=work.challenger_trained and outcome != "failed",
        challenger=work.challenger,
        gate=work.gate,
        champion=champion.bundle,
        champion_arm=champion.arm,
        champion_new=work.champion_new,
        champion_recent=champion.recent,
        commit=commit,
        task=config.task.name,
        seconds={name: round(value, 2) for name, value in work.seconds.items()},
    )
    write_runs(work.folder, [*work.runs, record])
    return record


class _ChampionState(NamedTuple):
    """The champion after a run; None where there is none, or where it cannot be read."""

    bundle: str | None = None
    arm: str | None = None
    recent: MeanScore | None = None


def _champion_state(work: RunState) -> _ChampionState:
    champion = read_champion_or_none(work.folder)
    if champion is None:
        return _ChampionState()
    arm = load_bundle(work.folder / "bundles" / champion.champion).record.arm
    return _ChampionState(champion.champion, arm, _champion_recent(work, champion))


def _explained(error: Exception, log: Path) -> str:
    """Return what a person needs of an error; where one of ours is none, its traceback is in the run's log."""
    if isinstance(error, WhetherError):
        return str(error)
    with named_write_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write("".join(traceback.format_exception(error)))
    return f"unexpected {type(error).__name__}: {error}; {log} says where"


def _run_steps(work: RunState, text: str, forced: bool) -> tuple[Outcome, str]:
    config, process = work.config, BundleProcess(work.folder)
    with _step(work, "taking in"):
        write_params(text)
        plan = _take_in(work)
    if _base_model_missing(work.folder):
        with _step(work, "base model"):
            logger.info("artifacts/model is missing: it is made again, so that the champion can answer")
            fetch_all(config)
            dvc_repro(work.log, "model")
    with _step(work, "triggers"):
        _look_for_reasons(work, plan.rows, process)
        reasons = _reasons(work, forced)
    if not reasons:
        action = bool(work.intake.unknown_labels) or all_rows_rejected(work.intake)
        return ("action_required", work.attention[-1]) if action else ("no_trigger", "no trigger fired")
    with _step(work, "pipeline"):
        logger.info("the pipeline runs: %s", "; ".join(reasons))
        fetch_all(config)
        dvc_repro(work.log)
        work.challenger_trained = True
    with _step(work, "gate"):
        verdict = read_json(ARTIFACTS / "compare" / "verdict.json", Verdict)
        judged = _gate(work, verdict, process)
    if isinstance(judged, str):
        return "action_required", judged
    decision, bundle = judged
    work.gate = decision
    logger.info("gate: %s", decision.reason)
    if not decision.promote:
        action = bool(work.intake.unknown_labels)
        return ("action_required", work.attention[-1]) if action else ("kept", decision.reason)
    with _step(work, "promotion"):
        _promote(work, bundle, decision.reason)
    return "promoted", decision.reason


def _take_in(work: RunState) -> inbox.IntakePlan:
    """Take what arrived into the data, which gets a new version, and return what went where."""
    config = work.config
    if not DATA.exists():
        fetch_all(config)
    hooks.collect(config.retrain, _collect_since(work.runs))
    plan = inbox.plan_intake(config, work.number, work.now)
    inbox.apply_intake(plan, config, work.number)
    work.intake = plan.counts
    logger.info("%s", describe_intake(plan.counts))
    messages = attention_messages(plan, work.folder, config.task.name)
    for message in messages:
        logger.warning("%s", message)
    work.attention += messages
    versions.version_data()
    return plan


def _look_for_reasons(work: RunState, rows: Sequence[CollectedRow], process: BundleProcess) -> None:
    """Evaluate the triggers, and score the champion on the rows that this run has labels of."""
    work.findings = evaluate_triggers(work.config, work.folder, work.context, rows, process)
    for found in work.findings:
        logger.info("%s %s: %s", "FIRES" if found.fired else "quiet", found.trigger, found.reason)
    fresh = [row for row in rows if row.labelled_in_run == work.number and row.destination != "duplicate"]
    scores = champion_scores(work.config, read_champion_or_none(work.folder), fresh, process)
    work.champion_new = _mean_score(scores, work.config)


def _promote(work: RunState, bundle: Bundle, reason: str) -> None:
    """Make a bundle the champion, and tell those who want to know; what fails there is only reported."""
    config = work.config
    promote(work.folder, bundle, work.number, work.now, reason)
    summary = {"task": config.task.name, "arm": bundle.record.arm, "bundle": bundle.record.id}
    summary |= {"run": str(work.number), "reason": reason}
    problems = hooks.after_promotion(config.retrain, bundle.folder, bundle.record.arm, summary)
    for problem in problems:
        logger.warning("%s; the promotion is kept", problem)
    work.attention += problems
    prune(work.folder, config.retrain.bundles)


def _base_model_missing(folder: Path) -> bool:
    """Whether there is a champion that cannot answer, since the base model is missing with artifacts/."""
    return read_champion_or_none(folder) is not None and not (ARTIFACTS / "model").exists()


def _collect_since(runs: Sequence[RetrainingRun]) -> str:
    """Return from when on rows are to be fetched: a run that failed may have fetched none, so it does not count."""
    return next((past.started for past in reversed(runs) if past.outcome != "failed"), "")


def _gate(work: RunState, verdict: Verdict, process: BundleProcess) -> tuple[GateRecord, Bundle] | str:
    """Return the gate's record and the challenger; a sentence where someone has to decide."""
    config = work.config
    arm = verdict.recommended_arm
    if arm is None:
        return "no arm keeps the policy's constraints, so there is no challenger: relax one, or add arms"
    bundles = work.folder / "bundles"
    challenger = make_bundle(arm, config, ARTIFACTS, bundles)
    work.challenger = arm
    champion = read_champion_or_none(work.folder)
    if champion is None:
        if verdict.answer == "inconclusive":
            return (
                "the verdict is inconclusive, so the first champion has to be chosen manually:"
                f" `whether retrain promote {arm}` takes its guess; {verdict.reasons[0]}"
            )
        reason = f"The first champion: the verdict recommends {arm}. {verdict.reasons[0]}"
        return GateRecord("first_champion", reason, promote=True), challenger
    if champion.champion == challenger.record.id and champion.run == work.number:
        reason = f"{champion.reason} (promoted before this run was interrupted)"
        return GateRecord("first_champion", reason, promote=True), challenger
    incumbent = load_bundle(bundles / champion.champion)
    sheets = []
    for name in ("test", "recent"):
        file = ARTIFACTS / "prepare" / f"{name}.jsonl"
        examples = read_jsonl(file, Example) if file.exists() else []
        if name == "recent" and len(examples) < config.retrain.gate.min_recent_rows:
            continue
        answers = [process.predict(side.record.id, examples, side.predictions) for side in (incumbent, challenger)]
        sheets.append(gate.PairedAnswers(name, examples, *answers))
    settings = InferenceSettings(level=1 - config.policy.alpha, resamples=config.policy.resamples, seed=config.seed)
    found = gate.decide_promotion(
        incumbent.record, challenger.record, verdict, sheets,
        task=read_json(ARTIFACTS / "prepare" / "task.json", Task),
        metric=metric_of(verdict.metric, config.metrics[verdict.metric]), policy=config.policy,
        gate=config.retrain.gate, settings=settings,
    )  # fmt: skip
    return found, challenger


def _reasons(work: RunState, forced: bool) -> list[str]:
    """Return why a challenger is made; empty where there is no reason."""
    reasons = [found.reason for found in work.findings if found.fired]
    if read_champion_or_none(work.folder) is None:
        reasons.insert(0, "there is no champion yet")
    return [*reasons, *(["force=true asks for it"] if forced else [])]


def _mean_score(scores: Sequence[float], config: Config) -> MeanScore | None:
    if not scores:
        return None
    low, high = rate_interval(sum(scores), len(scores), 1 - config.policy.alpha)
    return MeanScore(sum(scores) / len(scores), low, high, len(scores))


def _champion_recent(work: RunState, champion: Champion) -> MeanScore | None:
    """Return the champion's mean score on the rows of the recent window that it has answered."""
    file = work.folder / "answers" / f"{champion.champion}.jsonl"
    collected = collected_file(work.config.task)
    if not file.exists() or not collected.exists():
        return None
    recent = {row.id for row in read_jsonl(collected, CollectedRow) if row.destination == "holdout"}
    scores = [line.score for line in read_jsonl(file, Prediction) if line.id in recent]
    return _mean_score(scores, work.config)


def _commit(work: RunState, outcome: str, reason: str) -> str | None:
    """Commit what changed where `retrain.commit` says so; what git refuses is reported under `attention`."""
    branch = work.config.retrain.commit
    if branch is None or not versions.in_git():
        return None
    message = f"Retraining run {work.number}: {outcome}\n\n{describe_intake(work.intake)}. {reason}"
    try:
        return versions.commit(COMMITTED, branch, message)
    except RecordError as error:
        logger.warning("no commit: %s", error)
        work.attention.append(f"no commit: {error}")
        return None


@contextmanager
def _step(work: RunState, name: str) -> Iterator[None]:
    """Name the step in messages and in the lock's note, and measure its time."""
    work.step = name
    note = work.folder / "holder.json"
    if note.exists():
        write_json(note, read_json(note) | {"step": name})
    start = time.time()
    try:
        yield
    finally:
        work.seconds[name] = time.time() - start
