"""A search in MLflow: one run for it, and below it one for each trial; as often as it is shown, each is there once."""

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from whether.config import Config
from whether.errors import TrackingError
from whether.printing.markdown import escaped
from whether.records import SearchRecord, TrialRecord, read_json, read_jsonl, sha256_json, to_builtins
from whether.tracking.connection import open_experiment
from whether.tracking.names import flatten, numbers
from whether.tracking.reading import experiment_name, shown_files
from whether.tracking.views import MetricPoint, RunView

logger = logging.getLogger("whether.tracking")

SEARCH = "whether.search"
"""Tag of a search's runs: the key of the question that they answer."""


def publish_search(config: Config, checkpoint: str, artifacts: Path) -> str | None:
    """Show artifacts/search/<checkpoint> in MLflow and return the id of its run; None if that is off or has to wait.

    With more trials than last time, a new run takes the place of the old one, and the trials move below it.
    """
    folder = artifacts / "search" / checkpoint
    if not config.tracking.enabled or not (folder / "trials.jsonl").exists():
        return None
    record = read_json(folder / "search.json", SearchRecord)
    trials = read_jsonl(folder / "trials.jsonl", TrialRecord)
    experiment = experiment_name(config)
    parent = _search_view(record, trials, experiment, folder)
    views = [_trial_view(record, trial, experiment) for trial in trials]
    try:
        with open_experiment(config.tracking.uri, experiment, artifacts.resolve().parent) as store:
            return store.show_family(parent, views, SEARCH, record.key)
    except TrackingError as error:
        logger.warning("MLflow does not show the search: %s. Later, run the same command again.", error)
        return None


def _search_view(record: SearchRecord, trials: list[TrialRecord], experiment: str, folder: Path) -> RunView:
    shown = {
        "experiment": experiment,
        "kind": "search",
        "key": record.key,
        "trials": [to_builtins(row) for row in trials],
    }
    best = next((trial for trial in trials if trial.number == record.best), None)
    metrics = {"trials": len(trials), "pruned": sum(trial.state == "pruned" for trial in trials)}
    return RunView(
        name=f"search-{record.checkpoint}",
        kind="search",
        started=min((_time(trial.started) for trial in trials), default=_time("")),
        ended=max((_time(trial.ended) for trial in trials), default=_time("")),
        content_key=sha256_json(shown),
        note=_note(record, trials, best),
        params=flatten({"search": {"space": record.space, "pruner": record.pruner}, "seed": record.seed}),
        tags=_tags(record),
        metrics=numbers(metrics | (_measured(best) if best else {}), "search/"),
        files=[(file, "") for file in shown_files(folder)],
    )


def _trial_view(record: SearchRecord, trial: TrialRecord, experiment: str) -> RunView:
    shown = {"experiment": experiment, "kind": "trial", "key": record.key, "trial": to_builtins(trial)}
    ended = _time(trial.ended)
    return RunView(
        name=f"{record.checkpoint}-trial-{trial.number + 1:03d}",
        kind="trial",
        started=_time(trial.started),
        ended=ended,
        content_key=sha256_json(shown),
        params=flatten(
            {f"checkpoints.{record.checkpoint}.tuner.{key}": value for key, value in trial.settings.items()}
        ),
        tags=_tags(record) | {"trial": str(trial.number + 1), "state": trial.state},
        metrics=numbers(_measured(trial), "search/"),
        history=[MetricPoint("search/score", value, step, ended) for step, value in enumerate(trial.values, 1)],
    )


def _tags(record: SearchRecord) -> dict[str, str]:
    return {SEARCH: record.key, "task": record.task, "model": record.model, "checkpoint": record.checkpoint}


def _measured(trial: TrialRecord) -> dict[str, Any]:
    names = ("value", "dev_exact", "dev_loss", "seconds", "steps", "trainable_parameters", "trained_tokens")
    return {name: getattr(trial, name) for name in names}


def _note(record: SearchRecord, trials: list[TrialRecord], best: TrialRecord | None) -> str:
    found = "No trial came to its end."
    if best is not None and best.dev_exact is not None:
        settings = ", ".join(f"`{name}` {escaped(value)}" for name, value in best.settings.items())
        found = (
            f"Best: trial {best.number + 1} with {settings}: {best.dev_exact:.1%} of {record.dev_examples} examples."
        )
    return (
        f"{len(trials)} trials of settings of `{record.checkpoint}`, judged on dev. {found}\n\nThe picture is the"
        " artifact `search.svg`, the settings as a checkpoint are `best.yaml`; the trials are the runs below this one."
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text or "1970-01-01T00:00:00+00:00")
