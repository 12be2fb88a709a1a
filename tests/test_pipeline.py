"""The whole pipeline as a newcomer runs it: a fresh clone, an empty home, the README's command, the real small model.

What reruns after which edit is shown on a tiny model in test_reruns.py.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_reruns import untimed
from whether.sources.packages import cache_folder

ROOT = Path(__file__).parents[1]
SMOKE = (
    "experiment=smoke model.threads=1 task.max_rows=36 task.max_new_tokens=8 prompt=[few_shot] baseline=[linear]"
    " curve=none prompts.few_shot.strategy.examples=3 serving.requests=2 serving.warmup=0 robustness.examples=2"
    " robustness.formats=[input_colon] benchmark.tasks=[whether_cause_and_effect] benchmark.limit=4"
    " benchmark.text_tokens=64 benchmark.other_examples=8"
)

pytestmark = [pytest.mark.story, pytest.mark.timeout(1200)]
e2e = pytest.mark.e2e(minutes=5)


@dataclass
class Clone:
    """A fresh clone and the environment of a person who has just made it."""

    path: Path
    environment: dict[str, str]

    def __call__(self, command: str, fails: bool = False) -> str:
        """Run a shell command in the clone; return what it printed."""
        result = subprocess.run(
            ["bash", "-c", command], cwd=self.path, env=self.environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert (result.returncode != 0) == fails, f"{command}\n{result.stdout[-6000:]}"
        assert "Traceback" not in result.stdout, result.stdout[-6000:]
        return result.stdout

    def verdict(self) -> dict[str, object]:
        return dict(json.loads((self.path / "artifacts/compare/verdict.json").read_text()))


def ran(output: str) -> set[str]:
    """Stages that DVC ran."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def fresh_clone(folder: Path) -> Clone:
    """Clone this tree, edits that are not committed included, for a person with an empty home."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "whether")], check=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / "whether" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "whether" / name)
    (folder / "home").mkdir()
    kept = {key: os.environ[key] for key in os.environ if key.startswith(("PIP_", "LANG", "LC_", "SSL_", "REQUESTS_"))}
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(str(ROOT)))
    return Clone(folder / "whether", {**kept, "HOME": str(folder / "home"), "PATH": path})


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A fresh clone in which `make run` has run once, with small limits.

    It uses the environment that the tests run in, and data and model once they are downloaded: the README's two
    commands without either are `test_the_first_command`, and every run of CI.
    """
    made = fresh_clone(tmp_path_factory.mktemp("newcomer"))
    (made.path / ".venv").symlink_to(sys.prefix)
    for name in ("pyproject.toml", "constraints.txt"):  # older than the environment, so that make is content with it
        os.utime(made.path / name, (0, 0))
    made.environment |= {"PYTHONPATH": str(made.path / "src"), "XDG_CACHE_HOME": str(cache_folder().parents[1])}
    output = made(f"make run ARGS='{SMOKE}'")
    checkpoints = ("base", "lora")
    assert ran(output) >= {f"{stage}@{name}" for stage in ("finetune", "benchmark") for name in checkpoints}
    assert ran(output) >= {f"generate@{name}-few_shot" for name in checkpoints}
    assert ran(output) >= {"compose", "model", "prepare", "compare", "publish"}
    assert "report.html" in output
    return made


@e2e
def test_the_verdict_keeps_its_contract(clone: Clone) -> None:
    verdict = clone.verdict()
    assert verdict["answer"] in ("prompt", "fine_tune", "both", "neither", "no_difference", "inconclusive")
    assert set(verdict["arms"]) == {"base-few_shot", "lora-few_shot", "linear"}
    assert {"reasons", "recommended_arm", "task", "model", "comparisons", "provenance"} <= set(verdict)
    report = (clone.path / "artifacts/report/report.html").read_text()
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", report), "the report needs no network"
    assert len(report) < 2_000_000


@e2e
def test_a_second_run_does_nothing_and_shows_the_verdict_again(clone: Clone) -> None:
    before = clone.verdict()
    output = clone(f"make run ARGS='{SMOKE}'")
    assert ran(output) == set()
    assert str(before["recommended_arm"]) in output
    assert clone.verdict() == before


@e2e
def test_dvc_and_make_know_what_was_made(clone: Clone) -> None:
    assert "up to date" in clone(".venv/bin/python -m dvc status")
    assert (clone.path / clone("make -s report").strip()).exists()


@e2e
def test_bad_settings_end_with_one_clear_error(clone: Clone) -> None:
    output = clone(f"make run ARGS='{SMOKE} task=snipz'", fails=True)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, output[-3000:]
    assert re.search("task=snipz: no file .*did you mean 'snips'", output), output[-3000:]


@e2e
def test_tampered_data_is_refused_and_not_hashed_again(clone: Clone) -> None:
    pointer = (clone.path / "data.dvc").read_text()
    file = clone.path / "data/bigbench/intent_recognition.jsonl"
    original = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(original.replace(b"get_weather", b"got_weather", 1))
    output = clone(f"make run ARGS='{SMOKE}'", fails=True)
    assert "intent_recognition.jsonl" in output
    assert (clone.path / "data.dvc").read_text() == pointer
    file.write_bytes(original)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_the_first_command(tmp_path: Path) -> None:
    """`make run` with nothing installed, nothing downloaded and default limits; another clone then decides the same."""
    clone = fresh_clone(tmp_path / "first")
    output = clone("make run")
    assert "report.html" in output
    assert ran(clone("make run")) == set()
    second = fresh_clone(tmp_path / "second")
    (second.path / ".venv").symlink_to(clone.path / ".venv")
    second.environment |= {"HOME": clone.environment["HOME"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    second.environment["PYTHONPATH"] = str(second.path / "src")
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(second.path / name, (0, 0))
    second("make run")
    assert untimed(second.verdict()) == untimed(clone.verdict())
