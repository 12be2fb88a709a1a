"""What a run shows while it goes on."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from whether.cli.progress import FIRST, RunProgress, Times, kind_of, stage_names
from whether.entry import OWN_LINE
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
    made = RunProgress(STAGES, Times(known or {}), out, errors, live=live, clock=clock)
    return made, out, errors, clock


def test_the_stages_are_those_that_dvc_has() -> None:
    found = stage_names(ROOT / "dvc.yaml", yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert {"finetune@lora", "generate@base-knn", "curve_tune@20-1", "quick", "publish"} <= set(found)
    assert "compose" not in found
    assert {kind_of(stage) for stage in found} > set(FIRST)
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
    made.said("Running stage 'prepare':")
    clock.now = 90
    made.said("Running stage 'prompt':")
    made.said("> python -m pipelines.prompt")
    clock.now = 140
    made.said("Stage 'generate@base-knn' didn't change, skipping")
    made.said("Running stage 'quick':")
    clock.now = 200
    made.said("Running stage 'compare':")
    assert out.lines()[:-1] == [
        "Running stage 'prepare' (1 of 6; about 5 min to the first verdict, 10 min to all)",
        "Running stage 'prompt' (2 of 6; about 4 min to the first verdict, 9 min to all)",
        "Running stage 'quick' (4 of 6; about 1 min to the first verdict, 6 min to all)",
        "Running stage 'compare' (5 of 6; about 5 min left)",
    ]


def test_what_stages_took_is_what_they_are_expected_to_take() -> None:
    times = Times({})
    usual = times.expected("generate@base-knn")
    times.took("prepare", 2 * times.expected("prepare"))
    assert times.expected("generate@base-knn") == pytest.approx(2 * usual)  # this machine is half as fast
    times.took("finetune@base", 0.01)  # which is not trained: it says nothing of the others
    assert times.expected("finetune@lora") > 20
    times.took("generate@base-knn", 100)
    assert times.expected("generate@base-knn") == times.expected("generate@lora-knn") == 100


def test_a_terminal_has_one_live_line_and_what_stages_say_above_it() -> None:
    made, out, errors, clock = progress(live=True)
    made.said("Running stage 'prepare':")
    clock.now = 3
    made.tick()
    assert out.lines()[-1].startswith("prepare  3 s  (1 of 6; about ")
    made.said("Converting tensors... done")
    made.said(f"{OWN_LINE}3 rows were left out")
    assert out.getvalue().endswith("\r\033[K")
    assert errors.lines() == ["3 rows were left out", ""]
    made.clear()
    assert out.lines()[-1] == ""


def test_an_error_is_shown_and_a_crash_shows_the_stages_last_lines(tmp_path: Path) -> None:
    made, _, errors, _ = progress(live=False)
    made.said("Running stage 'prepare':")
    made.said("error: data/x.jsonl has bad rows:")
    made.said("  line 3: not JSON")
    made.said("ERROR: failed to reproduce 'prepare'")
    made.end(1, tmp_path / "run.log")
    assert errors.lines()[:-1] == [
        "error: data/x.jsonl has bad rows:", "  line 3: not JSON", "ERROR: failed to reproduce 'prepare'",
        f"all that was said: {tmp_path / 'run.log'}",
    ]  # fmt: skip
    made, _, errors, _ = progress(live=False)
    made.said("Running stage 'prepare':")
    made.said("Traceback (most recent call last):")
    made.said("KeyError: 'x'")
    made.end(1, tmp_path / "run.log")
    assert errors.lines()[:2] == ["Traceback (most recent call last):", "KeyError: 'x'"]


@pytest.mark.heavy
def test_what_dvc_and_its_stages_say_is_heard_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert reproduce(log, said=heard.append, idle=lambda: None) == expected
        assert "Running stage 'talk':" in heard
        assert {f"{OWN_LINE}ours", f"{OWN_LINE}and more"} < set(heard)
        assert not [line for line in heard if "%|" in line]
        assert "theirs" in log.read_text()
