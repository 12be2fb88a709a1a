"""What runs again after an edit, on a tiny model: real DVC, git and MLflow, and a pipeline that takes half a minute."""

import json
import re
import sqlite3
from pathlib import Path

import pytest

from tests.retrain.workplace import SETTINGS, Workplace, rows

pytestmark = [pytest.mark.real(minutes=3), pytest.mark.story, pytest.mark.timeout(900)]
CHANGED = ("checkpoint=", "prompt=", "baseline=", "curve=", "tuner.epochs=")
GRID = [word for word in SETTINGS if not word.startswith(CHANGED)]
GRID += [
    "tuner.epochs=1",
    "tuner.r=2",
    "checkpoint=[base,lora]",
    "baseline=[linear]",
    "curve=smoke",
    "curve.labels=[10]",
]
ALWAYS = {"score", "quick", "compare", "report", "publish"}


def arms(*names: str) -> set[str]:
    """The expensive stages of arms."""
    return {f"{stage}@{name}" for stage in ("generate", "robustness") for name in names}


POINT = {"curve_tune@10-0", "curve_generate@10-0"}
LORA = {"finetune@lora", "benchmark@lora"} | arms("lora-zero_shot", "lora-knn") | POINT


class Study(Workplace):
    """A repository with a grid of two checkpoints and two prompts, and a learning curve of one point."""

    def run(self, *words: str, prompts: str = "zero_shot,knn") -> set[str]:
        """Run what is not up to date; return the stages that DVC ran."""
        without = [word for word in GRID if not (word.startswith("curve") and "curve=none" in words)]
        done = self.module("whether.cli", "run", *without, f"prompt=[{prompts}]", *words)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        self.said = done.stdout
        return set(re.findall(r"Running stage '([^']+)'", done.stdout))

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


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, able_model: Path, warm: Path, empty_database: Path) -> Study:
    made = Study(tmp_path_factory.mktemp("reruns"), able_model, warm, empty_database)
    made.write("data/mine/rows.jsonl", rows(120, 0))
    made.shell("dvc commit -q data.dvc -f && git commit -qam 'more rows'")
    found = made.run()
    assert found - {"compose"} == LORA | ALWAYS | {
        "model", "prepare", "training_set", "prompt", "backend", "race", "finetune@base", "benchmark@base",
        "curve_data",
        "baseline_data", "baseline@linear", "curve_baseline",
    } | arms("base-zero_shot", "base-knn")  # fmt: skip
    return made


def test_a_second_run_does_nothing_and_shows_the_verdict_again(study: Study) -> None:
    before, runs = study.verdict(), study.runs()
    curve = before["learning_curve"]
    assert isinstance(curve, dict)
    assert [level["labels"] for level in curve["levels"]] == [10]
    assert study.run() == set()
    assert "What was measured" in study.said or str(before["recommended_arm"]) in study.said
    assert study.verdict() == before
    assert study.runs() == runs
    assert len(runs) == len(set(runs)) == 1 + 5 + 3 + 2 + 2, (
        "a pipeline run; an arm, checkpoint and benchmark each, a baseline as the first two;"
        " the learning curve and its point"
    )


def test_dvc_commands_do_what_a_dvc_user_expects(study: Study) -> None:
    assert "generate@lora-knn" in study.shell("dvc dag")
    assert "base-knn" in study.shell("dvc metrics show --json")
    study.shell("dvc metrics diff")
    plots = study.shell("dvc plots show --json")
    assert "quality_cost.svg" in plots
    assert "training loss" in plots
    assert "tuner" in study.shell("dvc params diff")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.inputs.text=txt"], "no column 'txt', .*did you mean 'text'"),
        (["task.source.path=data/none.csv"], "data/none.csv"),
        (["task.labels=[music,weathr]"], "line 2.*'weather'"),
    ],
)
def test_bad_settings_end_with_one_clear_error(study: Study, words: list[str], message: str) -> None:
    done = study.module("whether.cli", "run", *GRID, "prompt=[zero_shot,knn]", *words)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said, said[-6000:]
    assert sum(line.startswith("error: ") for line in said.splitlines()) == 1, said[-3000:]
    assert re.search(message, said), said[-3000:]


def test_an_earlier_revision_goes_onto_an_empty_server(study: Study) -> None:
    runs = study.runs()
    commit = study.shell("git add . && git stash create").strip()
    study.shell("mv mlflow.db kept.db")
    [run] = re.findall(rf"{commit}: \d+ runs, (\w+)", study.shell(f"whether publish {commit}"))
    assert study.runs() == runs
    assert "The verdict is the same" in study.shell(f"whether verdict --against runs:/{run}")
    assert "no verdict can be read" in study.shell("! whether publish nowhere 2>&1")
    study.shell("mv kept.db mlflow.db")


def test_a_comment_in_conf_reruns_compose_only(study: Study) -> None:
    file = study.path / "conf/policy/default.yaml"
    file.write_text("# a remark\n" + file.read_text())
    assert study.run() == {"compose"}


def test_a_new_prompt_runs_its_arms_only(study: Study) -> None:
    (study.path / "conf/prompt/few_shot_3.yaml").write_text(
        "# @package prompts.few_shot_3\nstrategy: {_target_: whether.prompt.strategies.few_shot, examples: 3}\n"
    )
    found = study.run(prompts="zero_shot,knn,few_shot_3")
    assert found - {"compose"} == {"prompt", "backend", "race"} | arms("base-few_shot_3", "lora-few_shot_3") | ALWAYS
    kinds = [kind for kind, _ in study.runs()]
    assert kinds.count("arm") == 7, "cached arms are not logged twice"
    assert kinds.count("pipeline") == 2


def test_the_curve_has_the_baseline_at_its_points(study: Study) -> None:
    curve = study.verdict()["learning_curve"]
    assert isinstance(curve, dict)
    assert [set(level["baselines"]) for level in curve["levels"]] == [{"linear"}]


def test_a_field_of_a_tuner_reruns_what_is_tuned_only(study: Study) -> None:
    found = study.run("tuner.alpha=16", prompts="zero_shot")
    cheap = {"training_set", "prompt", "backend", "race", "curve_data", "curve_baseline"}
    assert found - {"compose"} == LORA - arms("lora-knn") | ALWAYS | cheap


def test_an_edit_of_what_makes_or_reads_words_trains_nothing(study: Study) -> None:
    """Texts and requests are made again, are the same, and so no model runs on them."""
    study.run("tuner.alpha=16", prompts="zero_shot")
    files = [
        study.path / "src/whether" / name for name in ("outputs/label.py", "prompt/strategies.py", "chat/messages.py")
    ]
    kept = [file.read_text() for file in files]
    for file, text in zip(files, kept, strict=True):
        file.write_text(text + "\n# a remark\n")
    found = study.run("tuner.alpha=16", prompts="zero_shot")
    # A template of the chat is a benchmark's too.
    cheap = {"prepare", "training_set", "prompt", "backend", "race", "curve_data", "baseline_data"}
    assert found <= cheap | {"benchmark@base", "benchmark@lora"} | ALWAYS
    assert {"prompt", "score"} <= found
    for file, text in zip(files, kept, strict=True):
        file.write_text(text)
    assert study.run("tuner.alpha=16", prompts="zero_shot") <= cheap | ALWAYS


def test_another_number_of_labels_runs_its_point_only_and_none_runs_nothing(study: Study) -> None:
    found = study.run("tuner.alpha=16", "curve.labels=[10,20]", prompts="zero_shot")
    assert found - {"compose"} == {
        "curve_data", "curve_tune@20-0", "curve_generate@20-0", "curve_baseline", *(ALWAYS - {"score", "quick"}),
    }  # fmt: skip
    assert study.run("tuner.alpha=16", "curve=none", prompts="zero_shot") - {"compose"} == {
        "curve_data", "curve_baseline", *(ALWAYS - {"score", "quick"}),
    }  # fmt: skip
    assert study.verdict()["learning_curve"] is None


def test_a_dvc_experiment_takes_hydra_overrides(study: Study) -> None:
    study.shell("git add . && git commit -qm 'a state to experiment from'")
    chosen = " ".join(f"-S '{word}'" for word in [*GRID, "tuner.alpha=16", "policy.margin=0.05"])
    output = study.shell(f"dvc exp run {chosen} -S 'prompt=[zero_shot]'")
    found = set(re.findall(r"Running stage '([^']+)'", output))
    assert found - {"compose"} <= LORA | ALWAYS | {
        "curve_data",
        "curve_baseline",
        "training_set",
        "prompt",
        "backend",
        "race",
    }
    assert "compare" in found
    policy = study.verdict()["policy"]
    assert isinstance(policy, dict)
    assert policy["margin"] == 0.05


def test_a_task_of_ones_own_is_a_file_and_one_yaml(study: Study) -> None:
    settings = (study.path / "conf/task/tickets.yaml").read_text().splitlines()
    assert len(settings) <= 15
    chosen = [word for word in GRID if not word.startswith(("task=", "curve", "checkpoint="))]
    done = study.module(
        "whether.cli",
        "run",
        *chosen,
        "task=tickets",
        "task.max_new_tokens=60",
        "curve=none",
        "prompt=[zero_shot]",
        "checkpoint=[base,linear_probe]",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert study.verdict()["task"] == "tickets"


def test_a_second_clone_decides_the_same(study: Study, tmp_path: Path) -> None:
    """Same inputs, same seeds, same machine: the same verdict apart from times and what is computed from them."""
    study.run("curve=none", prompts="zero_shot")
    second = study.clone(tmp_path / "second")
    assert {"finetune@lora", "generate@lora-zero_shot"} < second.run("curve=none", prompts="zero_shot")
    assert untimed(second.verdict()) == untimed(study.verdict())


def test_a_first_verdict_needs_the_arms_alone(study: Study) -> None:
    words = [word for word in GRID if not word.startswith("curve")]
    chosen = ["prompt=[zero_shot]", "curve=none", "tuner.alpha=8", "policy.constraints.retention_change.min=0"]
    done = study.module("whether.cli", "quick", *words, *chosen)
    assert done.returncode == 0, done.stderr[-3000:]
    ran = set(re.findall(r"Running stage '([^']+)'", done.stdout))
    assert not [stage for stage in ran if stage.startswith(("robustness", "benchmark", "curve_", "compare", "report"))]
    assert re.search(r"Still to come, about .*: general ability kept and speed \(benchmark", done.stdout)
    verdict = json.loads((study.path / "artifacts/quick/verdict.json").read_text())
    assert set(verdict["arms"]) == {"base-zero_shot", "lora-zero_shot", "linear"}
    assert verdict["arms"]["lora-zero_shot"]["metrics"]["retention"]["value"] is None
    assert "The constraint on retention_change is not checked yet: it is measured after the arms." in verdict["reasons"]
    assert not verdict["excluded"]


def test_further_training_runs_are_stages_of_their_own(study: Study) -> None:
    found = study.run("curve=none", "training_runs=3", prompts="zero_shot")
    further = [f"lora_run{run}" for run in (2, 3)]
    made = {f"{stage}@{name}" for stage in ("finetune", "benchmark") for name in further}
    made |= arms(*(f"{name}-zero_shot" for name in further))
    assert found - {"compose"} == made | ALWAYS | {"training_set", "backend", "race"}
    measured: dict[str, dict[str, list[float]]] = study.verdict()["arms"]  # type: ignore[assignment]
    assert {name: len(arm["by_run"]) for name, arm in measured.items()} == {
        "base-zero_shot": 0, "lora-zero_shot": 3, "linear": 0,
    }  # fmt: skip
    seeds = [
        json.loads((study.path / f"artifacts/finetune/{name}/checkpoint/checkpoint.json").read_text())
        for name in further
    ]
    assert [found["seed"] for found in seeds] == [1, 2]
    assert sum(kind == "checkpoint" for kind, _ in study.runs()) >= 4


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
