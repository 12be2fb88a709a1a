"""What a stage's command does with words that it does not take: one error, never a traceback."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from whether.entry import chosen
from whether.errors import UsageError

ROOT = Path(__file__).parents[1]
STAGES = sorted(file.stem for file in (ROOT / "pipelines").glob("*.py") if file.stem != "__init__")
SOURCES = {stage: (ROOT / "pipelines" / f"{stage}.py").read_text() for stage in STAGES}
WITHOUT_WORDS = [stage for stage, text in SOURCES.items() if "words=()" in text]
OF_ARMS = [stage for stage, text in SOURCES.items() if re.search(r"words=\(\"", text)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings and nothing else."""
    folder = tmp_path_factory.mktemp("words")
    shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    return folder


def error_of(place: Path, warm: Path, *words: str) -> str:
    done = subprocess.run(
        [str(warm / "python"), "-m", *words], cwd=place, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    return done.stderr


def test_every_stage_says_which_words_it_takes() -> None:
    others = {"backend", "compose", "retrain"}  # they read their own
    verbs = {stage for stage, text in SOURCES.items() if "from whether.cli.app import main" in text}
    assert {*WITHOUT_WORDS, *OF_ARMS, *others, *verbs} == {*STAGES}


@pytest.mark.real(minutes=1)
@pytest.mark.parametrize("stage", STAGES)
def test_words_that_mean_nothing_are_one_error(place: Path, warm: Path, commands: None, stage: str) -> None:
    error_of(place, warm, f"pipelines.{stage}", "nonsense", "zero_shot")


@pytest.mark.real
def test_the_message_says_what_was_expected(place: Path, warm: Path, commands: None) -> None:
    def error(*words: str) -> str:
        return error_of(place, warm, *words).removeprefix("error: ").strip()

    assert error("pipelines.prompt", "x") == "python -m pipelines.prompt takes no words: 'x' is one too many"
    assert error("pipelines.generate", "base") == (
        "python -m pipelines.generate takes <checkpoint> <prompt>: <prompt> is missing"
    )
    assert "no checkpoint 'lor'; did you mean 'lora'? Known: base, lora" in error("pipelines.finetune", "lor")
    assert "no prompt 'zeroshot'; did you mean 'zero_shot'" in error("pipelines.robustness", "base", "zeroshot")
    assert "takes <checkpoint>: 'x' is one too many" in error("pipelines.benchmark", "base", "x")
    assert "no baseline '--x'; known: " in error("pipelines.baseline", "--x")
    assert "no backend 'x'; known: engine, vllm" in error("pipelines.backend", "x", "file")
    assert "no value of curve.seeds '77'" in error("pipelines.curve_tune", "20", "77")


@pytest.mark.real
def test_help_is_what_the_stage_s_file_says(place: Path, warm: Path, commands: None) -> None:
    done = subprocess.run(
        [str(warm / "python"), "-m", "pipelines.generate", "--help"], cwd=place, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m pipelines.generate <checkpoint> <prompt>" in done.stdout


def test_a_name_that_is_near_is_offered() -> None:
    known: Mapping[str, int] = {"zero_shot": 1, "knn": 2}
    assert chosen(known, "knn", "prompt") == 2
    with pytest.raises(UsageError, match="no prompt 'zero-shot'; did you mean 'zero_shot'"):
        chosen(known, "zero-shot", "prompt")
