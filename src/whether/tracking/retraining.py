"""Retraining in MLflow: one MLflow run whose charts are the history, and below it one for each retraining run.

Each retraining run is shown once, however often it is published; also one in which no trigger fired.
"""

import logging
from datetime import datetime
from pathlib import Path

from whether.config import Config
from whether.errors import TrackingError
from whether.printing.markdown import escaped
from whether.printing.secrets import without_credentials
from whether.records import RetrainingRun, read_runs, sha256_json, to_builtins
from whether.tracking.connection import open_experiment
from whether.tracking.reading import experiment_name
from whether.tracking.views import Appended, MetricPoint, RunView

logger = logging.getLogger("whether.tracking")

RETRAINING = "whether.retraining"
"""Tag of these MLflow runs: the task that is retrained."""
OUTCOME_VERBS = {
    "no_trigger": "did nothing",
    "promoted": "promoted a challenger",
    "kept": "kept the champion",
    "action_required": "requires action",
    "failed": "failed",
}


def publish_runs(config: Config, folder: Path, root: Path = Path()) -> str | None:
    """Show the retraining runs in MLflow and return the id of the parent run; None if that is off or has to wait."""
    runs = read_runs(folder) if config.tracking.enabled else []
    if not runs:
        return None
    experiment = experiment_name(config)
    parent = _parent_view(runs, experiment, config, folder)
    views = [_view(run, experiment, folder) for run in runs]
    try:
        with open_experiment(config.tracking.uri, experiment, root.resolve()) as store:
            return store.show_family(parent, views, RETRAINING, runs[-1].task)
    except TrackingError as error:
        logger.warning(
            "MLflow does not show this retraining run: %s. The next one catches up.", without_credentials(str(error))
        )
        return None


def _parent_view(runs: list[RetrainingRun], experiment: str, config: Config, folder: Path) -> RunView:
    """Describe the MLflow run whose charts are the history: the step is the number of the retraining run."""
    last = runs[-1]
    shown_files = [(file, "") for name in ("report.html", "runs.svg") if (file := folder / name).exists()]
    counts = {outcome: sum(run.outcome == outcome for run in runs) for outcome in OUTCOME_VERBS}
    summary = ", ".join(f"{count} {OUTCOME_VERBS[outcome]}" for outcome, count in counts.items() if count)
    return RunView(
        name=f"retraining-{last.task}",
        kind="retraining",
        started=datetime.fromisoformat(runs[0].started),
        ended=datetime.fromisoformat(last.ended),
        content_key=_history_key(runs, experiment),
        continues=Appended(_history_key(runs[:-1], experiment), _history(runs[-1:])) if runs[:-1] else None,
        note=(
            f"{len(runs)} retraining runs: {summary}. Champion: **{last.champion_arm or 'none yet'}**"
            f" (`{last.champion or '-'}`).\n\n"
            "The charts are the history: `trigger/…` is evidence over threshold, 1 makes a challenger;"
            " `retrain/champion_new` is the champion's score on each retraining run's new rows. The page is the"
            " artifact `report.html`, its picture `runs.svg`; each retraining run is an MLflow run below this one."
        ),
        params={"retrain.folder": config.retrain.folder, "retrain.holdout_rows": str(config.retrain.holdout_rows)},
        tags={RETRAINING: last.task, "task": last.task, "champion": last.champion_arm or ""},
        history=_history(runs),
        files=shown_files,
    )


def _history_key(runs: list[RetrainingRun], experiment: str) -> str:
    shown = {"experiment": experiment, "kind": "retraining", "runs": [to_builtins(run) for run in runs]}
    return sha256_json(shown)


def _history(runs: list[RetrainingRun]) -> list[MetricPoint]:
    return [
        MetricPoint(name, value, run.number, datetime.fromisoformat(run.ended))
        for run in runs
        for name, value in _metrics(run).items()
    ]


def _view(run: RetrainingRun, experiment: str, folder: Path) -> RunView:
    log = folder / "logs" / f"{run.number:06d}.log"
    return RunView(
        name=f"retraining-{run.number:04d}-{run.outcome}",
        kind="retraining_run",
        started=datetime.fromisoformat(run.started),
        ended=datetime.fromisoformat(run.ended),
        content_key=sha256_json({"experiment": experiment, "kind": "retraining_run", "run": to_builtins(run)}),
        note=_note(run),
        tags={
            RETRAINING: run.task,
            "task": run.task,
            "outcome": run.outcome,
            "fired": ", ".join(found.trigger for found in run.findings if found.fired),
            "champion": run.champion_arm or "",
            "challenger": run.challenger or "",
        },
        metrics=_metrics(run),
        files=[(log, "")] if log.exists() else [],
    )


def _metrics(run: RetrainingRun) -> dict[str, float]:
    counts = run.intake
    found: dict[str, float | None] = {
        "retrain/labelled": float(counts.labelled),
        "retrain/unlabelled": float(counts.unlabelled),
        "retrain/quarantined": float(counts.quarantined),
        "retrain/seconds": sum(run.seconds.values()),
        "retrain/promoted": float(run.outcome == "promoted"),
    }
    for name, score in (("champion_new", run.champion_new), ("champion_recent", run.champion_recent)):
        if score is not None:
            found[f"retrain/{name}"] = score.mean
            found[f"retrain/{name}_ci_low"], found[f"retrain/{name}_ci_high"] = score.ci_low, score.ci_high
    for finding in run.findings:
        if finding.statistic is not None and finding.threshold:
            found[f"trigger/{finding.trigger}"] = finding.statistic / finding.threshold
    for side in run.gate.sides if run.gate else []:
        found[f"gate/{side.name}_difference"] = side.difference
        found[f"gate/{side.name}_ci_low"] = side.ci_low
        found[f"gate/{side.name}_ci_high"] = side.ci_high
    return {name: value for name, value in found.items() if value is not None}


def _note(run: RetrainingRun) -> str:
    """Return what a retraining run did, as Markdown."""
    lines = [f"Retraining run {run.number} **{OUTCOME_VERBS[run.outcome]}**. {escaped(run.reason)}", ""]
    lines += [f"- {escaped(text)}" for text in run.attention]
    lines += ["", "| trigger | fired | found |", "|---|---|---|"]
    lines += [
        f"| {found.trigger} | {'**yes**' if found.fired else 'no'} | {escaped(found.reason)} |"
        for found in run.findings
    ]
    return "\n".join(lines)
