"""The whole pipeline, as a newcomer runs it: a fresh clone, an empty home, the README's command, small limits."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMOKE = "experiment=smoke"
ALWAYS = {"compare", "publish"}
CURVE = {"curve@10-0", "curve@40-0"}
LORA = {"finetune@lora", "prompt@lora-zero_shot", "prompt@lora-few_shot", "prompt@lora-knn", "benchmark@lora"} | CURVE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3000)]


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

    def runs(self) -> list[tuple[str, str]]:
        """Kind and content key of every run in MLflow's database."""
        query = (
            "select k.value, c.value from tags k join tags c on k.run_uuid = c.run_uuid"
            " join runs r on r.run_uuid = k.run_uuid where k.key = 'whether.kind'"
            " and c.key = 'whether.content_key' and r.lifecycle_stage = 'active'"
        )
        with sqlite3.connect(self.path / "mlflow.db") as database:
            return sorted(database.execute(query))


def ran(output: str) -> set[str]:
    """Stages that DVC ran."""
    return set(re.findall(r"Running stage '([^']+)'", output))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone of this tree (edits that are not committed included) in which `make run` has run once."""
    folder = tmp_path_factory.mktemp("newcomer")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "whether")], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / "whether" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "whether" / name)
    (folder / "home").mkdir()
    kept = {key: os.environ[key] for key in os.environ if key.startswith(("PIP_", "LANG", "LC_", "SSL_", "REQUESTS_"))}
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(str(ROOT)))
    clone = Clone(folder / "whether", {**kept, "HOME": str(folder / "home"), "PATH": path})
    output = clone(f"make run ARGS='{SMOKE}'")
    assert ran(output) >= LORA | ALWAYS | {"compose", "model", "prepare", "finetune@base", "prompt@base-knn"}
    assert "report.html" in output
    return clone


@pytest.fixture
def edited(clone: Clone) -> Callable[[str, str], None]:
    """Write a file of the clone."""

    def write(name: str, text: str) -> None:
        (clone.path / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.path / name).write_text(text)

    return write


def test_the_verdict_keeps_its_contract(clone: Clone) -> None:
    verdict = clone.verdict()
    assert verdict["answer"] in ("prompt", "fine_tune", "both", "no_difference", "inconclusive")
    assert set(verdict["arms"]) == {f"{c}-{p}" for c in ("base", "lora") for p in ("zero_shot", "few_shot", "knn")}
    curve = verdict["learning_curve"]
    assert isinstance(curve, dict)
    assert [level["labels"] for level in curve["levels"]] == [10, 40]
    assert {"reasons", "recommended_arm", "task", "model", "comparisons", "provenance"} <= set(verdict)
    report = (clone.path / "artifacts/compare/report.html").read_text()
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", report), "the report needs no network"
    assert len(report) < 2_000_000


def test_a_second_run_does_nothing_and_shows_the_verdict_again(clone: Clone) -> None:
    before, runs = clone.verdict(), clone.runs()
    output = clone(f"make run ARGS='{SMOKE}'")
    assert ran(output) == set()
    assert str(before["recommended_arm"]) in output
    assert clone.verdict() == before
    assert clone.runs() == runs
    assert len(runs) == len(set(runs)) == 1 + 6 + 2 + 2 + 3, (
        "a pipeline run; an arm, checkpoint and benchmark each; the learning curve and its two points"
    )


def test_an_earlier_revision_goes_onto_an_empty_server(clone: Clone) -> None:
    runs, python = clone.runs(), ".venv/bin/python"
    commit = clone("git -c user.email=a@b.c -c user.name=a stash create").strip()
    clone("mv mlflow.db kept.db")
    [run] = re.findall(rf"{commit}: \d+ runs, (\w+)", clone(f"{python} -m pipelines.publish_past {commit}"))
    assert clone.runs() == runs
    assert "The verdict is the same" in clone(f"{python} -m pipelines.verdict --against runs:/{run}")
    assert "no verdict can be read" in clone(f"{python} -m pipelines.publish_past nowhere", fails=True)
    clone("mv kept.db mlflow.db")


def test_dvc_commands_do_what_a_dvc_user_expects(clone: Clone) -> None:
    dvc = ".venv/bin/python -m dvc"
    assert "up to date" in clone(f"{dvc} status")
    assert "prompt@lora-knn" in clone(f"{dvc} dag")
    assert "base-knn" in clone(f"{dvc} metrics show --json")
    clone(f"{dvc} metrics diff")
    plots = clone(f"{dvc} plots show --json")
    assert "quality_cost.svg" in plots
    assert "training loss" in plots
    assert "task.max_rows" in clone(f"{dvc} params diff")
    assert (clone.path / clone("make -s report").strip()).exists()


def test_a_comment_in_conf_reruns_compose_only(clone: Clone, edited: Callable[[str, str], None]) -> None:
    text = (clone.path / "conf/policy/default.yaml").read_text()
    edited("conf/policy/default.yaml", "# a remark\n" + text)
    assert ran(clone(f"make run ARGS='{SMOKE}'")) == {"compose"}


def test_a_new_prompt_runs_its_arms_only(clone: Clone, edited: Callable[[str, str], None]) -> None:
    edited(
        "conf/prompt/few_shot_7.yaml",
        "# @package prompts.few_shot_7\nstrategy: {_target_: whether.prompt.strategies.few_shot, examples: 7}\n",
    )
    output = clone(f"make run ARGS='{SMOKE} prompt=[zero_shot,few_shot,knn,few_shot_7]'")
    assert ran(output) - {"compose"} == {"prompt@base-few_shot_7", "prompt@lora-few_shot_7"} | ALWAYS
    kinds = [kind for kind, _ in clone.runs()]
    assert kinds.count("arm") == 8, "cached arms are not logged twice"
    assert kinds.count("pipeline") == 2


def test_a_field_of_a_tuner_reruns_what_is_tuned_only(clone: Clone) -> None:
    output = clone(f"make run ARGS='{SMOKE} tuner.alpha=16 prompt=[zero_shot,few_shot]'")
    assert ran(output) - {"compose"} == LORA - {"prompt@lora-knn"} | ALWAYS


def test_another_number_of_labels_runs_its_point_only_and_none_runs_nothing(clone: Clone) -> None:
    chosen = f"{SMOKE} tuner.alpha=16 prompt=[zero_shot,few_shot]"
    assert ran(clone(f"make run ARGS='{chosen} curve.labels=[10,20,40]'")) - {"compose"} == {
        "curve@20-0", *ALWAYS,
    }  # fmt: skip
    assert ran(clone(f"make run ARGS='{chosen} curve=none'")) - {"compose"} == {"draw", *ALWAYS}
    assert clone.verdict()["learning_curve"] is None


def test_a_dvc_experiment_takes_hydra_overrides(clone: Clone) -> None:
    clone("git -c user.name=n -c user.email=e@example.org commit -qam 'a state to experiment from'")
    output = clone(f"PATH=$PWD/.venv/bin:$PATH dvc exp run -S {SMOKE} -S policy.margin=0.05")
    assert ran(output) - {"compose"} <= LORA | ALWAYS | {"draw"}
    assert "compare" in ran(output)
    policy = clone.verdict()["policy"]
    assert isinstance(policy, dict)
    assert policy["margin"] == 0.05


def test_a_task_of_ones_own_is_a_file_and_one_yaml(clone: Clone) -> None:
    settings = (clone.path / "conf/task/tickets.yaml").read_text().splitlines()
    assert len(settings) <= 15
    clone(f"make run ARGS='task=tickets {SMOKE} task.max_rows=null prompt=[zero_shot,knn]'")
    assert clone.verdict()["task"] == "tickets"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("task=snipz", "task=snipz: no file .*did you mean 'snips'"),
        ("task.inputs.utterance=text", "text.*did you mean|no column 'text'"),
        ("task.source.path=data/none.csv", "data/none.csv"),
        ("task.labels=[get_weather,play_music] ~task.definitions", "line 1.*add_to_playlist|add_to_playlist.*line 1"),
    ],
)
def test_bad_settings_end_with_one_clear_error(clone: Clone, overrides: str, message: str) -> None:
    output = clone(f"make run ARGS='{SMOKE} {overrides}'", fails=True)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, output[-3000:]
    assert re.search(message, output), output[-3000:]


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


def test_a_second_clone_downloads_nothing_and_decides_the_same(clone: Clone, tmp_path: Path) -> None:
    """Same inputs, same seeds, same machine: the same verdict apart from times and what is computed from them."""
    small = f"{SMOKE} prompt=[zero_shot,few_shot] curve=none"
    clone(f"make run ARGS='{small}'")
    second = Clone(tmp_path / "second", clone.environment)
    subprocess.run(["git", "clone", "--quiet", str(clone.path), str(second.path)], check=True)
    (second.path / ".venv").symlink_to(clone.path / ".venv")
    environment = {
        **clone.environment,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "",
        "PYTHONPATH": str(second.path / "src"),
    }
    path = f"{clone.path / '.venv/bin'}{os.pathsep}{clone.environment['PATH']}"
    second.environment = {**environment, "PATH": path}
    second(f"git checkout -q HEAD -- . && python -m pipelines.run {small}")
    assert untimed(second.verdict()) == untimed(clone.verdict())


def test_further_training_runs_are_stages_of_their_own(clone: Clone) -> None:
    small = f"{SMOKE} prompt=[zero_shot,few_shot] curve=none"
    clone(f"make run ARGS='{small}'")
    output = clone(f"make run ARGS='{small} training_runs=3'")
    further = [f"lora_run{run}" for run in (2, 3)]
    made = {f"{stage}@{name}" for stage in ("finetune", "benchmark") for name in further}
    made |= {f"prompt@{name}-{prompt}" for name in further for prompt in ("zero_shot", "few_shot")}
    assert ran(output) - {"compose"} == made | ALWAYS
    arms: dict[str, dict[str, list[float]]] = clone.verdict()["arms"]  # type: ignore[assignment]
    assert {name: len(arm["by_run"]) for name, arm in arms.items()} == {
        "base-zero_shot": 0, "base-few_shot": 0, "lora-zero_shot": 3, "lora-few_shot": 3,
    }  # fmt: skip
    seeds = [json.loads((clone.path / f"artifacts/finetune/{name}/checkpoint.json").read_text()) for name in further]
    assert [found["seed"] for found in seeds] == [1, 2]
    assert sum(kind == "checkpoint" for kind, _ in clone.runs()) >= 4


def untimed(verdict: dict[str, object]) -> object:
    """A verdict without dates, measured times and memory, and what is computed from them.

    Which of several arms is recommended depends on what they cost, and so on times, where no difference was shown.
    """
    timed = re.compile(
        r"seconds|latency|usd|memory|tokens_per_second|created_at|dirty|commit|reasons|disk|break_even|recommended_arm"
    )

    def strip(value: object) -> object:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if not timed.search(key)}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(verdict)
