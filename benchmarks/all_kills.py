"""The whole product killed at random moments (kill -9), or its disk filled: is anything lost, doubled or different?

`python benchmarks/kills.py --all` runs this. Real DVC, git and MLflow on a tiny model; each command and each stage is a
process of its own. Every kill is a case of its own, in a repository of its own: the command is started, it and all that
it started are killed at a moment drawn from its usual length, and it is run again to its end.

    run        `whether run` from nothing: every stage, and publishing
    two runs   two of them at once in one repository; both are killed
    publish    `whether publish` of a finished run into an empty MLflow
    retrain    the retraining job with new rows and a challenger
    intake     the same, killed while it takes rows in
    two jobs   two of them at once; both are killed
    full disk  no kill: the disk is full from a moment on, until the command has ended (needs root, to mount one)

A case counts as lost or doubled by the rows in data/collected, the inbox and the runs in MLflow, and as different if
the command does not end well when it is run again, if predictions and metrics are not those of an undisturbed run, or
if there is not exactly one champion, complete on disk and in MLflow's registry.
"""

import contextlib
import copy
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from tests.conftest import make_able_model, make_tiny_model  # noqa: E402
from tests.retrain.workplace import SETTINGS, Workplace, rows  # noqa: E402
from tests.warm_python import warm_python  # noqa: E402
from whether.bundle.bundle import load_bundle  # noqa: E402
from whether.errors import WhetherError  # noqa: E402

DISK = 600 * 2**20
"""Bytes of the file system that cases run on."""
RUN = ["-m", "whether.cli", "run", *SETTINGS]
PUBLISH = ["-m", "whether.cli", "publish"]
JOB = ["-m", "pipelines.retrain", *SETTINGS, "force=true"]
TIMED = ("usd", "latency", "seconds", "tokens_per_second", "memory", "disk")
"""How the metrics begin, or end, that a clock or a meter decides."""


class Case(NamedTuple):
    """What a kind of case does."""

    command: list[str]
    started: int = 1
    """Commands at once."""
    begins: str = "nothing"
    """What there is before: nothing, a run, or a champion."""
    fills: bool = False
    """Whether the disk is filled, and nothing killed."""
    early: bool = False
    """Whether the moment is while rows are taken in."""


CASES = {
    "run": Case(RUN), "two runs": Case(RUN, 2), "publish": Case(PUBLISH, begins="a run"),
    "retrain": Case(JOB, begins="a champion"), "intake": Case(JOB, begins="a champion", early=True),
    "two jobs": Case(JOB, 2, begins="a champion"), "full disk, run": Case(RUN, fills=True),
    "full disk, retrain": Case(JOB, begins="a champion", fills=True),
}  # fmt: skip


@dataclass
class Outcome:
    """What came of a case."""

    kind: str
    after: float
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)
    said: str = ""
    """What the command printed that was run again."""
    ended: int | None = None
    """Status of the command whose disk was full."""

    def line(self) -> str:
        """Return it for a reader."""
        said = "; ".join(
            [*self.problems, *([f"{self.lost} lost, {self.doubled} doubled"] * bool(self.lost or self.doubled))]
        )
        how = "" if self.ended is None else f", status {self.ended}"
        return f"{self.kind:18} after {self.after:5.1f} s{how}: {said or 'nothing lost, doubled or different'}"


def campaign(
    kills: int, seed: int, folder: Path, kinds: Sequence[str], *, tell: Callable[[str], None], keep: Path
) -> list[Outcome]:
    """Try `kills` cases, the kinds in turn; keep the repositories in which something went wrong."""
    drawn, found = random.Random(seed), list[Outcome]()
    with warm_python(folder / "warm") as warm, a_disk(folder / "disk") as can_fill:
        grounds = Grounds(folder, warm)
        chosen = [name for name in CASES if name.startswith(tuple(kinds)) and (can_fill or not CASES[name].fills)]
        for number in range(kills):
            name = chosen[number % len(chosen)]
            found.append(grounds.attempt(name, CASES[name], drawn))
            tell(found[-1].line())
            if found[-1].lost or found[-1].doubled or found[-1].problems:
                shutil.copytree(grounds.place.path, keep / f"{number}", symlinks=True, dirs_exist_ok=True)
                (keep / f"{number}" / "said.txt").write_text(found[-1].said)
    return found


@contextlib.contextmanager
def a_disk(folder: Path) -> Iterator[bool]:
    """Yield whether `folder` could be made a file system of `DISK` bytes; else it is an ordinary folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    done = os.geteuid() == 0 and shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False)
    mounted = bool(done) and done.returncode == 0  # type: ignore[union-attr]
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


class Grounds:
    """Repositories to begin from, what undisturbed commands make of them, and in what time.

    Commands run in one folder, into which they are copied: a repository that was moved has no place in MLflow.
    """

    def __init__(self, folder: Path, warm: Path):
        self.kept = folder / "kept"
        make_database(folder)
        work = folder / "disk" / "work"
        work.mkdir()
        model = make_able_model(make_tiny_model(folder / "tiny"), folder / "able")
        self.place = Workplace(work, model, warm, folder / "mlflow.db")
        self.lengths: dict[tuple[str, ...], float] = {}
        self.keep("nothing")
        self.undisturbed(RUN)
        self.made, self.published = results(work), mlflow_counts(work)
        self.keep("a run")
        forget_published(self.place)
        self.undisturbed(PUBLISH)
        self.begin("a run")
        self.undisturbed(JOB)
        self.keep("a champion")
        arrive(self.place)
        self.undisturbed(JOB)

    def keep(self, name: str) -> None:
        """Keep the repository as it is."""
        shutil.copytree(self.place.path, self.kept / name, symlinks=True)

    def begin(self, name: str) -> None:
        """Put a repository that was kept into its place."""
        shutil.rmtree(self.place.path)
        shutil.copytree(self.kept / name, self.place.path, symlinks=True)

    def undisturbed(self, command: list[str]) -> None:
        """Run a command to its end and remember how long it takes."""
        start = time.monotonic()
        done = finish(self.place, command)
        if done.returncode:
            raise RuntimeError(
                f"{command[1:4]} ends with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        self.lengths[tuple(command)] = time.monotonic() - start

    def attempt(self, name: str, case: Case, drawn: random.Random) -> Outcome:
        """Disturb a command, run it again, and compare."""
        place, is_job = self.place, case.command is JOB
        self.begin(case.begins)
        texts = arrive(place) if is_job else []
        if case.command is PUBLISH:
            forget_published(place)
        outcome = Outcome(name, drawn.uniform(0, self.lengths[tuple(case.command)]))
        disturb(place, case, outcome, drawn)
        done = finish(place, case.command)
        outcome.said = done.stdout + done.stderr
        said = outcome.said.strip().splitlines()
        if done.returncode or "Traceback" in outcome.said:
            outcome.problems.append(f"the next one ends with {done.returncode}: {said[-1] if said else ''}")
        elif is_job:
            compare_job(place, texts, outcome)
        else:
            compare_published(place, self.published, outcome)
            if results(place.path) != self.made:
                outcome.problems.append("other predictions or metrics")
        return outcome


def copied(place: Workplace, path: Path) -> Workplace:
    """Copy a repository with all that is in it."""
    shutil.copytree(place.path, path, symlinks=True)
    made = copy.copy(place)
    made.path = path
    made.environment = place.environment | {"PYTHONPATH": f"{path / 'src'}{os.pathsep}{path}"}
    return made


def disturb(place: Workplace, case: Case, outcome: Outcome, drawn: random.Random) -> None:
    """Start a command, or several, and kill all of it, or fill the disk until they have ended."""
    running = [start(place, case.command) for _ in range(case.started)]
    if case.early:
        wait_for_intake(place, running[0])
        outcome.after = drawn.uniform(0, 0.3)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running[0].wait(outcome.after)
    if case.fills:
        with full(place.path.parent):
            said = [process.communicate() for process in running]
        outcome.ended = running[0].returncode
        if any("Traceback" in text for pair in said for text in pair):
            outcome.problems.append("a traceback when the disk is full")
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    wait_until_quiet(place.path)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no space on a file system: what others give back is taken too."""
    filler, ended = disk / "filler", threading.Event()

    def fill() -> None:
        with filler.open("wb") as stream:
            for size in chain([2**20], repeat(2**12)):
                while not ended.is_set():
                    try:
                        os.write(stream.fileno(), bytes(size))
                    except OSError:
                        break
                if ended.wait(0.01):
                    return

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        filler.unlink()


def start(place: Workplace, command: Sequence[str]) -> "subprocess.Popen[str]":
    """Begin a command."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = [place.python, *command]
    return subprocess.Popen(words, cwd=place.path, env=place.environment, text=True, start_new_session=True, **pipes)


def finish(place: Workplace, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    process = start(place, command)
    out, err = process.communicate()
    return subprocess.CompletedProcess(list(command), process.returncode, out, err)


def wait_for_intake(place: Workplace, process: "subprocess.Popen[str]") -> None:
    """Return when the job takes rows in."""
    note = place.path / "retrain" / "holder.json"
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if '"step": "taking in"' in note.read_text():
                return
        time.sleep(0.002)


def wait_until_quiet(path: Path) -> None:
    """Return when no process works in a folder: what was killed takes what it started along."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        folders = set[str]()
        for process in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                folders.add(str(process.readlink()))
        if not any(Path(one).is_relative_to(path) for one in folders):
            return
        time.sleep(0.05)
    raise RuntimeError(f"something still runs in {path}")


def arrive(place: Workplace) -> list[str]:
    """Put new rows into the inbox; return the texts of all rows that ever arrived."""
    before = [line["row"]["text"] for line in place.lines("data/collected/mine.jsonl")]
    fresh = rows(12, 1000)
    place.write("inbox/new.jsonl", fresh)
    return [*before, *(row["text"] for row in fresh)]


def results(path: Path) -> dict[str, Any]:
    """Return what must be the same: every arm's answers, and its metrics that no clock decides."""
    verdict = json.loads((path / "artifacts/compare/verdict.json").read_text())
    metrics = {
        f"{name} {metric}": found["value"]
        for name, arm in verdict["arms"].items()
        for metric, found in arm["metrics"].items()
        if not metric.startswith(TIMED) and not metric.endswith(TIMED)
    }
    return {"answers": answers(path), "metrics": metrics}


def answers(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return what each arm answered to each example of dev and test."""
    return {
        file.parent.name: [
            tuple(line[key] for key in ("id", "answer", "score"))
            for line in map(json.loads, file.read_text().splitlines())
        ]
        for file in (path / "artifacts" / "score").glob("*/predictions.jsonl")
    }


def compare_job(place: Workplace, texts: list[str], outcome: Outcome) -> None:
    """Say what is wrong after the next job."""
    found = [line["row"]["text"] for line in place.lines("data/collected/mine.jsonl")]
    outcome.lost += len(set(texts) - set(found)) + len(list((place.path / "inbox").iterdir()))
    outcome.doubled += len(found) - len(set(found))
    numbers = [run["number"] for run in place.lines("retrain/runs.jsonl")]
    if numbers != list(range(1, len(numbers) + 1)):
        outcome.problems.append(f"the runs are {numbers}")
    champion = json.loads((place.path / "retrain/champion.json").read_text())["champion"]
    registered = champions(place.path)
    try:
        load_bundle(place.path / "retrain" / "bundles" / champion)
        for source, _ in registered:
            load_bundle(Path(source.removeprefix("file://")) / "artifacts" / "bundle")
    except WhetherError as error:
        outcome.problems.append(f"the champion is not complete: {error}")
    if [bundle for _, bundle in registered] != [champion]:
        outcome.problems.append(f"the registry names {registered}, and {champion} is the champion")


def compare_published(place: Workplace, expected: dict[str, int], outcome: Outcome) -> None:
    """Count what MLflow lacks, and what it has twice."""
    found = mlflow_counts(place.path)
    outcome.lost += sum(max(0, count - found.get(key, 0)) for key, count in expected.items())
    outcome.doubled += sum(max(0, count - expected.get(key, 0)) for key, count in found.items())


def champions(path: Path) -> list[tuple[str, str]]:
    """Return place and bundle of each version that the registry's alias champion names."""
    query = (
        "select v.source, t.value from registered_model_aliases a join model_versions v on v.name = a.name and"
        " v.version = a.version join model_version_tags t on t.name = a.name and t.version = a.version"
        " where a.alias = 'champion' and t.key = 'whether.bundle'"
    )
    with sqlite3.connect(path / "mlflow.db") as database:
        return [(source, bundle) for source, bundle in database.execute(query)]


def mlflow_counts(path: Path) -> dict[str, int]:
    """Return how many runs of each name and status, and versions of each model, MLflow shows."""
    with sqlite3.connect(path / "mlflow.db") as database:
        shown = database.execute("select name, status from runs where lifecycle_stage = 'active'").fetchall()
        versions = database.execute(
            "select name from model_versions where current_stage != 'Deleted_Internal'"
        ).fetchall()
    counts: dict[str, int] = {}
    # The name of a pipeline's run begins with its time.
    for key in [
        *(re.sub(r"^[-\d]+ [\d:]+ ", "", f"{name} {status}") for name, status in shown),
        *(f"version of {name}" for (name,) in versions),
    ]:
        counts[key] = counts.get(key, 0) + 1
    return counts


def forget_published(place: Workplace) -> None:
    """Put an empty MLflow in the place of the one that shows the run."""
    shutil.copy(place.database, place.path / "mlflow.db")
    shutil.rmtree(place.path / "mlartifacts", ignore_errors=True)
    (place.path / ".state" / "publication.json").unlink(missing_ok=True)


def make_database(folder: Path) -> None:
    """Write MLflow's database as a first publication would, without runs, to mlflow.db."""
    from whether.tracking.connection import open_experiment

    with open_experiment("sqlite:///mlflow.db", "of another task", folder):
        pass
