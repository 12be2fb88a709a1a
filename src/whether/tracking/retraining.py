"""Retraining in MLflow: one run whose charts are the history by night, and below it a run for each night.

As often as it is shown, each night is there once; also a night that decided to do nothing.
"""

import logging
from datetime import datetime
from pathlib import Path

from whether.config import Config
from whether.errors import TrackingError
from whether.records import RetrainingRun, read_jsonl, sha256_json, to_builtins
from whether.tracking.connection import open_experiment
from whether.tracking.names import without_credentials
from whether.tracking.reading import experiment_name
from whether.tracking.views import Appended, MetricPoint, RunView

logger = logging.getLogger("whether.tracking")

RETRAINING = "whether.retraining"
"""Tag of the runs: the task that they retrain."""
OUTCOME_VERBS = {
    "nothing": "did nothing",
    "promoted": "promoted a challenger",
    "kept": "kept the champion",
    "needs_person": "needs a person",
    "failed": "failed",
}


def publish_runs(config: Config, folder: Path, root: Path = Path()) -> str | None:
    """Show retrain/nights.jsonl in MLflow and return the id of the run above; None if that is off or has to wait."""
    file = folder / "nights.jsonl"
    if not config.tracking.enabled or not file.exists():
        return None
    nights, experiment = read_jsonl(file, RetrainingRun), experiment_name(config)
    above = _parent_view(nights, experiment, config, folder)
    views = [_view(night, experiment, folder) for night in nights]
    try:
        with open_experiment(config.tracking.uri, experiment, root.resolve()) as store:
            return store.show_family(above, views, RETRAINING, nights[-1].task)
    except TrackingError as error:
        logger.warning("MLflow does not show the night: %s. The next one catches up.", without_credentials(str(error)))
        return None


def _parent_view(nights: list[RetrainingRun], experiment: str, config: Config, folder: Path) -> RunView:
    """Describe the run whose charts are the history: step is the night."""
    last = nights[-1]
    shown_files = [(file, "") for name in ("report.html", "nights.svg") if (file := folder / name).exists()]
    counts = {outcome: sum(night.outcome == outcome for night in nights) for outcome in OUTCOME_VERBS}
    said = ", ".join(f"{count} {OUTCOME_VERBS[outcome]}" for outcome, count in counts.items() if count)
    return RunView(
        name=f"retraining-{last.task}",
        kind="retraining",
        started=datetime.fromisoformat(nights[0].started),
        ended=datetime.fromisoformat(last.ended),
        content_key=_history_key(nights, experiment),
        continues=Appended(_history_key(nights[:-1], experiment), _history(nights[-1:])) if nights[:-1] else None,
        note=(
            f"{len(nights)} nights: {said}. Champion: **{last.champion_arm or 'none yet'}**"
            f" (`{last.champion or '-'}`).\n\n"
            "The charts are the history: `trigger/…` is evidence over threshold, 1 makes a challenger;"
            " `retrain/champion_new` is the champion's score on each night's new rows. The page is the artifact"
            " `report.html`, its picture `nights.svg`; each night is a run below this one."
        ),
        params={"retrain.folder": config.retrain.folder, "retrain.window": str(config.retrain.window)},
        tags={RETRAINING: last.task, "task": last.task, "champion": last.champion_arm or ""},
        history=_history(nights),
        files=shown_files,
    )


def _history_key(nights: list[RetrainingRun], experiment: str) -> str:
    shown = {"experiment": experiment, "kind": "retraining", "nights": [to_builtins(night) for night in nights]}
    return sha256_json(shown)


def _history(nights: list[RetrainingRun]) -> list[MetricPoint]:
    return [
        MetricPoint(name, value, night.number, datetime.fromisoformat(night.ended))
        for night in nights
        for name, value in _metrics(night).items()
    ]


def _view(night: RetrainingRun, experiment: str, folder: Path) -> RunView:
    log = folder / "logs" / f"{night.number:06d}.log"
    return RunView(
        name=f"night-{night.number:04d}-{night.outcome}",
        kind="night",
        started=datetime.fromisoformat(night.started),
        ended=datetime.fromisoformat(night.ended),
        content_key=sha256_json({"experiment": experiment, "kind": "night", "night": to_builtins(night)}),
        note=_note(night),
        tags={
            RETRAINING: night.task,
            "task": night.task,
            "outcome": night.outcome,
            "fired": ", ".join(found.trigger for found in night.findings if found.fired),
            "champion": night.champion_arm or "",
            "challenger": night.challenger or "",
        },
        metrics=_metrics(night),
        files=[(log, "")] if log.exists() else [],
    )


def _metrics(night: RetrainingRun) -> dict[str, float]:
    taken = night.taken
    found: dict[str, float | None] = {
        "retrain/labelled": float(taken.labelled),
        "retrain/unlabelled": float(taken.unlabelled),
        "retrain/quarantined": float(taken.quarantined),
        "retrain/seconds": sum(night.seconds.values()),
        "retrain/promoted": float(night.outcome == "promoted"),
    }
    for name, score in (("champion_new", night.champion_new), ("champion_recent", night.champion_recent)):
        if score is not None:
            found[f"retrain/{name}"] = score.mean
            found[f"retrain/{name}_ci_low"], found[f"retrain/{name}_ci_high"] = score.ci_low, score.ci_high
    for finding in night.findings:
        if finding.statistic is not None and finding.threshold:
            found[f"trigger/{finding.trigger}"] = finding.statistic / finding.threshold
    for side in night.gate.sides if night.gate else []:
        found[f"gate/{side.name}_difference"] = side.difference
        found[f"gate/{side.name}_ci_low"] = side.ci_low
        found[f"gate/{side.name}_ci_high"] = side.ci_high
    return {name: value for name, value in found.items() if value is not None}


def _note(night: RetrainingRun) -> str:
    """Return what a night did, as Markdown."""
    lines = [f"Night {night.number} **{OUTCOME_VERBS[night.outcome]}**. {night.reason}", ""]
    lines += [f"- {text}" for text in night.attention]
    lines += ["", "| trigger | fired | found |", "|---|---|---|"]
    lines += [
        f"| {found.trigger} | {'**yes**' if found.fired else 'no'} | {found.reason.replace('|', '/')} |"
        for found in night.findings
    ]
    return "\n".join(lines)
