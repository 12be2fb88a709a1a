"""What a run shows while it is running."""

import io
import logging
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from whether.cli.progress import FIRST_VERDICT_STAGES, RunProgress, stage_names
from whether.cli.stage_times import StageTimes, kind_of, measured_speed
from whether.entry import OWN_LINE, TerminatedError
from whether.repository.repro import reproduce

ROOT = Path(__file__).parents[2]
STAGES = ["prepare", "prompt", "generate@base-knn", "quick", "compare", "publish"]


class Terminal(io.StringIO):
    """What stands on the screen: a live line is replaced by the next one."""

    def lines(self) -> list[str]:
        return [line.rpartition("\r\033[K")[2] for line in self.getvalue().split("\n")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def progress(live: bool, known: dict[str, float] | None = None) -> tuple[RunProgress, Terminal, Terminal, Clock]:
    out, errors, clock = Terminal(), Terminal(), Clock()
    made = RunProgress(STAGES, StageTimes(known or {}), out, errors, live=live, clock=clock)
    return made, out, errors, clock


def test_the_stages_are_those_that_dvc_has() -> None:
    found = stage_names(ROOT / "dvc.yaml", yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert {"finetune@lora", "generate@base-knn", "curve_tune@20-1", "quick", "publish"} <= set(found)
    assert "compose" not in found
    assert {kind_of(stage) for stage in found} > set(FIRST_VERDICT_STAGES)
    assert len(found) == len(set(found))


@pytest.mark.heavy
def test_no_stage_is_missing() -> None:
    command = [sys.executable, "-m", "dvc", "stage", "list", "--name-only", "--all"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = stage_names(ROOT / "dvc.yaml", yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert set(found) == {name for name in listed if name not in ("compose", "data.dvc")}


def test_without_a_terminal_each_stage_is_a_line_with_the_minutes_that_are_left() -> None:
    known = {"prepare": 60, "prompt": 60, "generate@base-knn": 120, "quick": 60, "compare": 240, "publish": 60}
    made, out, _, clock = progress(live=False, known=known)
    made.handle_line("Running stage 'prepare':")
    clock.now = 90
    made.handle_line("Running stage 'prompt':")
    made.handle_line("> python -m pipelines.prompt")
    clock.now = 140
    made.handle_line("Stage 'generate@base-knn' didn't change, skipping")
    made.handle_line("Running stage 'quick':")
    clock.now = 200
    made.handle_line("Running stage 'compare':")
    assert out.lines()[:-1] == [
        "Running stage 'prepare' (1 of 6; about 5 min to the first verdict, 10 min to all)",
        "Running stage 'prompt' (2 of 6; about 4 min to the first verdict, 9 min to all)",
        "Running stage 'quick' (4 of 6; about 1 min to the first verdict, 6 min to all)",
        "Running stage 'compare' (5 of 6; about 5 min left)",
    ]


def test_what_stages_took_is_what_they_are_expected_to_take() -> None:
    times = StageTimes({})
    usual = times.expected("generate@base-knn")
    times.took("model", 1000)  # a download says nothing of the machine
    times.took("finetune@base", 0.01)  # which is not trained
    assert times.expected("generate@base-knn") == pytest.approx(usual, rel=0.05)
    assert usual > 3 * times.expected("generate@base-zero_shot")
    times.took("finetune@lora", 2 * times.expected("finetune@lora"))
    assert 1.5 * usual < times.expected("generate@base-knn") < 2.1 * usual  # this machine is half as fast
    times.took("generate@base-knn", 100)
    assert times.expected("generate@base-knn") == times.expected("generate@lora-knn") == 100


def test_before_anything_was_measured_the_machines_speed_counts() -> None:
    fast, slow = StageTimes({}, speed=1.0), StageTimes({}, speed=0.25)
    assert slow.expected("finetune@lora") == pytest.approx(4 * fast.expected("finetune@lora"))
    assert slow.expected("report") == fast.expected("report")
    assert 0.05 <= measured_speed() <= 1


def test_a_step_that_is_not_dvcs_has_a_live_line_and_its_messages_stand_above_it() -> None:
    made, out, _, clock = progress(live=True)
    with made.step("fetching"):
        deadline = time.monotonic() + 20
        while not out.lines()[-1] and time.monotonic() < deadline:
            clock.now += 1
            time.sleep(0.1)
        assert out.lines()[-1].startswith("fetching  ")
        assert "to the first verdict" in out.lines()[-1]
        written = len(out.getvalue())
        logging.getLogger("whether").info("fetching a package ...")
        assert out.getvalue()[written:].startswith("\r\033[K")
    assert out.lines()[-1] == ""


def test_a_terminal_has_one_live_line_and_what_stages_say_above_it() -> None:
    made, out, errors, clock = progress(live=True)
    made.handle_line("Running stage 'prepare':")
    clock.now = 3
    made.tick()
    assert out.lines()[-1].startswith("prepare  3 s  (1 of 6; about ")
    made.handle_line("Converting tensors... done")
    made.handle_line(f"{OWN_LINE}3 rows were left out")
    assert out.getvalue().endswith("\r\033[K")
    assert errors.lines() == ["3 rows were left out", ""]
    made.clear()
    assert out.lines()[-1] == ""


def test_an_error_is_shown_and_a_crash_shows_the_stages_last_lines(tmp_path: Path) -> None:
    made, _, errors, _ = progress(live=False)
    made.handle_line("Running stage 'prepare':")
    made.handle_line("error: data/x.jsonl has bad rows:")
    made.handle_line("  line 3: not JSON")
    made.handle_line("ERROR: failed to reproduce 'prepare'")
    made.end(1, tmp_path / "run.log")
    assert errors.lines()[:-1] == [
        "error: data/x.jsonl has bad rows:", "  line 3: not JSON", "ERROR: failed to reproduce 'prepare'",
        f"everything that was printed: {tmp_path / 'run.log'}",
    ]  # fmt: skip
    made, _, errors, _ = progress(live=False)
    made.handle_line("Running stage 'prepare':")
    made.handle_line("Traceback (most recent call last):")
    made.handle_line("KeyError: 'x'")
    made.end(1, tmp_path / "run.log")
    assert errors.lines()[:2] == ["Traceback (most recent call last):", "KeyError: 'x'"]


@pytest.mark.heavy
def test_sigterm_ends_dvc_and_its_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], check=True)
    Path("wait.py").write_text("import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)")
    Path("dvc.yaml").write_text("stages: {wait: {cmd: python wait.py}}")
    pids: list[int] = []

    def terminated(line: str) -> None:
        if line.startswith("pid "):
            pids.append(int(line.split()[1]))
            raise TerminatedError(143)

    start = time.monotonic()
    with pytest.raises(TerminatedError):
        reproduce(tmp_path / "run.log", on_line=terminated, on_idle=lambda: None)
    assert time.monotonic() - start < 30
    assert not runs(pids[0])


def runs(pid: int) -> bool:
    """Return whether a process runs. One that has ended may still be listed until its new parent takes note of it."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.heavy
def test_what_dvc_and_its_stages_print_is_heard_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], check=True)
    Path("say.py").write_text(
        "import sys; from whether import entry; entry.prepare_process(); import logging\n"
        "logging.getLogger('whether').info('ours\\nand more'); print('theirs', flush=True)\n"
        "print('  5%|#   | 1/20 [00:00<00:01, 9it/s]\\r 10%|#   | 2/20', file=sys.stderr)\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    for status, expected in ((0, 0), (3, 1)):
        Path("dvc.yaml").write_text(f"stages: {{talk: {{cmd: python say.py {status}}}}}")
        heard: list[str] = []
        log = tmp_path / "logs" / "run.log"
        assert reproduce(log, on_line=heard.append, on_idle=lambda: None) == expected
        assert "Running stage 'talk':" in heard
        assert {f"{OWN_LINE}ours", f"{OWN_LINE}and more"} < set(heard)
        assert not [line for line in heard if "%|" in line]
        assert "theirs" in log.read_text()
