"""Scheduled retraining: one command for any scheduler.

    python -m pipelines.retrain [override ...]               a run: take in, triggers, pipeline, gate, promote or keep
    python -m pipelines.retrain --dry-run [override ...]     what it would do and why; nothing is written
    python -m pipelines.retrain force=true                   make a challenger whatever the triggers say
    python -m pipelines.retrain action=rollback              the previous champion answers again
    python -m pipelines.retrain action=promote arm=lora-knn  an arm of the last pipeline run becomes the champion
    python -m pipelines.retrain action=withdraw run=7        rows of a run leave the data, such as wrong labels
    python -m pipelines.retrain action=status                the champion, and the last retraining runs

now=<time> runs as if it were that time, to replay the past.

The last line on standard output is one JSON object. Exit status: 0 nothing to do, promoted or kept; 1 failed; 3 action
required; 75 another job is at work. With --detailed-exit-code promoted is 10 and kept 11. docs/retraining.md says more.
"""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from whether import entry
from whether.bundle import champion as champions
from whether.bundle.bundle import load_bundle, make_bundle
from whether.bundle.champion import read_champion, read_champion_or_none
from whether.config import Config, check, compose, load
from whether.errors import ConfigError, near_matches
from whether.intake import inbox
from whether.printing.terminal import message, say
from whether.records import ARTIFACTS, RetrainingRun, read_runs, to_builtins
from whether.repository import versions
from whether.retrain import job
from whether.retrain.lock import LockedError, job_lock
from whether.retrain.page import write_page
from whether.retrain.plots import plot_runs
from whether.retrain.precision import with_champion_precision
from whether.retrain.warm import with_warm_start
from whether.tracking.models import publish_champion
from whether.tracking.retraining import publish_runs

STATUS = {"no_trigger": 0, "promoted": 0, "kept": 0, "failed": 1, "action_required": 3}
DETAILED = STATUS | {"promoted": 10, "kept": 11}
LOCKED = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""


@dataclass(frozen=True)
class JobRequest:
    """What the command line asks for."""

    action: str = "run"
    arm: str = ""
    runs: tuple[int, ...] = ()
    force: bool = False
    now: datetime | None = None
    dry_run: bool = False
    detailed: bool = False
    overrides: list[str] = field(default_factory=list)


def main(argv: list[str]) -> int:
    """Do what is asked; actions that write hold the job's lock."""
    request = parse(argv)
    text = compose(request.overrides)
    text, config = with_champion_precision(text, check(yaml.safe_load(text)))
    now = request.now or datetime.now(UTC)
    try:
        if request.dry_run:
            return dry_run(with_warm_start(text, config)[1], request, now)
        if request.action == "status":  # only reads, so it works while a run is in progress
            return status(config, text, request, now)
        with job_lock(Path(config.retrain.folder), now):
            text, config = with_warm_start(text, config)
            return ACTIONS[request.action](config, text, request, now)
    except LockedError as error:
        print(f"error: {message(error)}", file=sys.stderr)
        return LOCKED


def run(config: Config, text: str, request: JobRequest, now: datetime) -> int:
    """Execute a retraining run."""
    work = job.start(config, now)
    with logged(work.folder / "logs" / f"{work.number:06d}.log"):
        done = job.run(work, text, forced=request.force)
        publish(config)
    print(json.dumps(summary(done)))
    return (DETAILED if request.detailed else STATUS)[done.outcome]


def dry_run(config: Config, request: JobRequest, now: datetime) -> int:
    """Print what a retraining run would do."""
    for sentence in job.dry_run(job.start(config, now), forced=request.force):
        say(sentence)
    return 0


def rollback(config: Config, _text: str, _request: JobRequest, now: datetime) -> int:
    """Make the previous champion the champion again."""
    work = job.start(config, now)
    champion = champions.rollback(work.folder, work.number - 1, work.now)
    publish(config)
    print(json.dumps({"outcome": "rolled_back", **to_builtins(champion)}))
    return 0


def promote(config: Config, _text: str, request: JobRequest, now: datetime) -> int:
    """Make an arm of the last pipeline run, whose settings are in params.yaml, the champion: someone's choice."""
    config = load() if not request.overrides else config
    work = job.start(config, now)
    bundle = make_bundle(request.arm, config, ARTIFACTS, work.folder / "bundles")
    champion = champions.promote(work.folder, bundle, work.number - 1, work.now, f"{request.arm}, chosen manually")
    publish(config)
    print(json.dumps({"outcome": "promoted", "arm": request.arm, **to_builtins(champion)}))
    return 0


def withdraw(config: Config, _text: str, request: JobRequest, now: datetime) -> int:
    """Move the rows of some retraining runs out of the data, into quarantine."""
    work = job.start(config, now)
    rows = inbox.withdraw(config, request.runs, work.number)
    versions.version_data()
    print(json.dumps({"outcome": "withdrawn", "rows": rows, "runs": list(request.runs)}))
    return 0


def status(config: Config, _text: str, _request: JobRequest, _now: datetime) -> int:
    """Print the champion and the last retraining runs."""
    folder = Path(config.retrain.folder)
    champion = read_champion(folder)
    record = load_bundle(folder / "bundles" / champion.champion).record
    runs = [summary(past) for past in read_runs(folder)[-7:]]
    shown = {"arm": record.arm, "model": record.model, record.metric: record.quality}
    print(json.dumps({**to_builtins(champion), **shown, "runs": runs}, indent=2))
    return 0


ACTIONS: dict[str, Callable[[Config, str, JobRequest, datetime], int]] = {
    "run": run, "rollback": rollback, "promote": promote, "withdraw": withdraw, "status": status,
}  # fmt: skip


def parse(argv: Sequence[str]) -> JobRequest:
    """Separate the job's own arguments from Hydra's overrides. Raises ConfigError for one that does not fit."""
    own: dict[str, Any] = {}
    overrides = []
    for word in argv:
        key, equals, value = word.partition("=")
        if word in ("--dry-run", "--detailed-exit-code"):
            own["dry_run" if word == "--dry-run" else "detailed"] = True
        elif word in ("-h", "--help"):
            print(__doc__)
            raise SystemExit(0)
        elif word.startswith("-"):
            raise ConfigError(f"{word} is unknown{near_matches(word, ['--dry-run', '--detailed-exit-code'])}")
        elif equals and key == "night":
            raise ConfigError("night= is now run=, as in action=withdraw run=7")
        elif equals and key in ("action", "arm", "run", "force", "now"):
            own[key] = value
        else:
            overrides.append(word)
    action = own.pop("action", "run")
    if action not in ACTIONS:
        raise ConfigError(f"action={action} is unknown{near_matches(action, ACTIONS)}")
    if ("arm" in own) != (action == "promote") or ("run" in own) != (action == "withdraw"):
        raise ConfigError("action=promote needs arm=<checkpoint>-<prompt>, action=withdraw needs run=<number>[,…]")
    if own.get("force", "true") not in ("true", "false"):
        raise ConfigError(f"force={own['force']} is neither true nor false")
    try:
        runs = tuple(int(part) for part in own.pop("run", "").split(",") if part)
    except ValueError as error:
        raise ConfigError(f"run: {error}") from None
    if "now" in own:
        own["now"] = _time(own["now"])
    own["force"] = own.get("force") == "true"
    return JobRequest(action=action, runs=runs, overrides=overrides, **own)


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"now={text}: expected a time such as 2026-01-31T02:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def summary(done: RetrainingRun) -> dict[str, object]:
    """Return what a scheduler needs to know, in one line."""
    fired = [found.trigger for found in done.findings if found.fired]
    intake = to_builtins(done.intake)
    return {
        "run": done.number, "task": done.task, "outcome": done.outcome, "reason": done.reason, "fired": fired,
        "challenger": done.challenger, "champion": done.champion_arm, "bundle": done.champion, "intake": intake,
        "attention": done.attention, "commit": done.commit, "started": done.started, "ended": done.ended,
    }  # fmt: skip


def publish(config: Config) -> None:
    """Plot the retraining runs and show them in MLflow; where it does not answer, the next run catches up."""
    folder = Path(config.retrain.folder)
    runs = read_runs(folder)
    if runs:
        picture = folder / "runs.svg"
        plot_runs(runs, picture)
        (folder / "nights.svg").unlink(missing_ok=True)  # the picture's name in earlier versions
        write_page(runs, read_champion_or_none(folder), picture.read_text("utf-8"), folder / "report.html")
        publish_runs(config, folder)
    publish_champion(config, folder)


class _Log(logging.FileHandler):
    """A log file that ignores a full disk: the job itself reports what it could not write."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Continue."""


class logged:
    """Write our own messages to a file as well."""

    def __init__(self, file: Path):
        self._file = file

    def __enter__(self) -> None:
        """Start."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._handler = _Log(self._file, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
        logging.getLogger("whether").addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        """End."""
        logging.getLogger("whether").removeHandler(self._handler)
        self._handler.close()


if __name__ == "__main__":
    entry.run(main)
