"""The job terminated, and killed at each of its steps: nothing is lost, and the same command makes it whole."""

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.retrain.workplace import Workplace, rows

pytestmark = [pytest.mark.timeout(900)]
real = pytest.mark.real(minutes=2)
STEPS = ("taking in", "triggers", "pipeline", "gate", "promotion")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, able_model: Path, warm: Path, empty_database: Path) -> Workplace:
    """A repository with a champion."""
    made = Workplace(tmp_path_factory.mktemp("kills"), able_model, warm, empty_database)
    assert made.job().summary["outcome"] == "promoted"
    return made


@real
def test_sigterm_ends_all_that_the_job_started(place: Workplace) -> None:
    place.write("inbox/term.jsonl", rows(12, 77))  # so that stages have something to do
    process = place.start("force=true")
    wait_for(place, process, "pipeline")
    started: list[int] = []
    deadline = time.time() + 120
    while len(started) < 2:  # DVC, and a stage
        assert time.time() < deadline
        time.sleep(0.1)
        started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "terminated: run the same command again" in err) == (143, True)
    assert not [pid for pid in started if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    assert not (place.path / "retrain/holder.json").exists()


def wait_for(place: Workplace, process: "subprocess.Popen[str]", step: str) -> None:
    """Return when the job is at a step."""
    note, deadline = place.path / "retrain/holder.json", time.time() + 300
    while f'"step": "{step}"' not in (note.read_text() if note.exists() else ""):
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.time() < deadline
        time.sleep(0.002)


@real
@pytest.mark.parametrize(
    "step", [step if step == "pipeline" else pytest.param(step, marks=pytest.mark.slow) for step in STEPS]
)
def test_a_kill_at_any_step_loses_and_doubles_nothing(place: Workplace, step: str) -> None:
    fresh = rows(6, 100 + STEPS.index(step))
    before = place.lines("data/collected/mine.jsonl")
    place.write(f"inbox/{step.replace(' ', '-')}.jsonl", fresh)
    if step == "promotion":  # so that there is one
        assert place.job("action=promote", "arm=base-zero_shot").status == 0
    process = place.start("force=true")
    wait_for(place, process, step)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    champion = place.champion()
    assert (place.path / "retrain/bundles" / champion["champion"] / "bundle.json").exists()
    done = place.job("force=true")
    assert done.status == 0, done.err[-3000:]
    texts = [line["row"]["text"] for line in place.lines("data/collected/mine.jsonl")]
    assert sorted(texts) == sorted([*(line["row"]["text"] for line in before), *(row["text"] for row in fresh)])
    assert not list((place.path / "inbox").iterdir())
    numbers = [run["number"] for run in place.lines("retrain/runs.jsonl")]
    assert numbers == list(range(1, len(numbers) + 1))
    place.champion()
    if step == "promotion":
        assert place.champion()["arm"] == "linear_probe-zero_shot"
