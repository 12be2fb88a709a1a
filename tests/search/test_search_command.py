"""`whether search`, and what MLflow then shows."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from whether.cli.app import command
from whether.config import CONF, Config, check, compose, load
from whether.errors import MissingPackageError, RecordError, WhetherError
from whether.records import TrialRecord, read_jsonl
from whether.search.suggest import optuna
from whether.tracking.search import publish_search

# MLflow's own, at every search; nobody sees it outside tests.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

pytest.importorskip("optuna")

ROOT = Path(__file__).parents[2]
OVERRIDES = ["task=tickets", "model=local", "model.name=tiny", "model.device=cpu",
             "model.dtype=float32", "model.threads=1", "tuner.r=4",
             "tuner.epochs=2", "tuner.learning_rate=0.02", "tuner.batch_size=8"]  # fmt: skip
COMMAND = ["search", "lora", "trials=2", "space.epochs=null", "space.adapter.r.high=8", "startup_trials=2"]


@pytest.fixture
def repository(artifacts: Path, empty_database: Path, commands: None) -> Path:
    shutil.copy(empty_database, artifacts.parent / "mlflow.db")
    shutil.copytree(ROOT / CONF, "conf")
    Path("params.yaml").write_text(compose(OVERRIDES, Path("conf")))
    return artifacts.parent


def runs(repository: Path, kind: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{repository / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("whether/tickets")
    return list(client.search_runs([experiment.experiment_id], f"tags.`whether.kind` = '{kind}'"))


@pytest.mark.heavy
def test_it_prints_and_writes_a_checkpoint_that_composes(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [*OVERRIDES, "tuner.learning_rate=0.0002"]
    Path("params.yaml").write_text(compose(overrides, Path("conf")))
    command(COMMAND)
    printed = capsys.readouterr().out
    assert printed.startswith("# @package checkpoints.lora_searched")
    assert "with the settings of lora: " in printed
    assert "copy artifacts/search/lora/best.yaml to conf/checkpoint/lora_searched.yaml" in printed
    command([*COMMAND, "--write"])
    assert "written to conf/checkpoint/lora_searched.yaml" in capsys.readouterr().out
    config = check(yaml.safe_load(compose([*overrides, "checkpoint=[base,lora,lora_searched]"], Path("conf"))))
    found, own = (config.checkpoints[name].tuner for name in ("lora_searched", "lora"))
    assert found is not None
    assert own is not None
    assert found.epochs == own.epochs
    assert found.learning_rate > own.learning_rate
    assert found.adapter.keys() == own.adapter.keys()
    Path("conf/checkpoint/lora_searched.yaml").write_text("# written by a person\n")
    with pytest.raises(RecordError, match=r"lora_searched.yaml is there and was not written by a search"):
        command([*COMMAND, "--write"])


@pytest.mark.heavy
def test_settings_that_nothing_beat_are_not_written(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(["search", "lora", "trials=2", "space.epochs=null", "space.adapter=null", "space.learning_rate.low=1e-6",
          "space.learning_rate.high=0.02", "space.learning_rate.choices=null", "--write"])  # fmt: skip
    printed = capsys.readouterr().out
    assert "These are the settings of lora itself: no trial was better." in printed
    assert "nothing to write: no trial was better than lora as it is" in printed
    assert not Path("conf/checkpoint/lora_searched.yaml").exists()


@pytest.mark.heavy
def test_mlflow_shows_a_run_and_its_trials_each_once(repository: Path) -> None:
    command(COMMAND)
    (parent,) = runs(repository, "search")
    children = {run.data.tags["trial"]: run for run in runs(repository, "trial")}
    trials = read_jsonl(Path("artifacts/search/lora/trials.jsonl"), TrialRecord)
    assert set(children) == {"1", "2"}
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    for trial in trials:
        run = children[str(trial.number + 1)]
        assert run.data.metrics["search/dev_loss"] == trial.dev_loss
        assert run.data.params["checkpoints.lora.tuner.adapter.r"] == str(trial.settings["adapter.r"])
    assert "Best: trial" in parent.data.tags["mlflow.note.content"]
    artifacts = Path(parent.info.artifact_uri.removeprefix("file://"))
    assert {file.name for file in artifacts.iterdir()} == {"search.json", "trials.jsonl", "best.yaml", "search.svg"}

    command(COMMAND)
    assert [run.info.run_id for run in runs(repository, "search")] == [parent.info.run_id]
    assert {run.info.run_id for run in runs(repository, "trial")} == {run.info.run_id for run in children.values()}

    command([*COMMAND, "trials=3"])
    (longer,) = runs(repository, "search")
    after = {run.data.tags["trial"]: run for run in runs(repository, "trial")}
    assert longer.info.run_id != parent.info.run_id
    assert longer.data.metrics["search/trials"] == 3
    assert after["1"].info.run_id == children["1"].info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in after.values()} == {longer.info.run_id}

    command([*COMMAND, "--restart"])
    assert len(runs(repository, "search")) == 1
    assert len(runs(repository, "trial")) == 2


@pytest.mark.heavy
def test_what_a_kill_left_in_mlflow_is_mended(repository: Path) -> None:
    from mlflow import MlflowClient

    command(COMMAND)
    client = MlflowClient(f"sqlite:///{repository / 'mlflow.db'}")
    (parent,) = runs(repository, "search")
    first, second = runs(repository, "trial")
    client.update_run(parent.info.run_id, status="RUNNING")
    client.delete_run(second.info.run_id)
    assert publish_search(settings(), "lora", Path("artifacts"))
    (mended,) = runs(repository, "search")
    assert mended.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in runs(repository, "trial")} == {mended.info.run_id}
    assert first.info.run_id in {run.info.run_id for run in runs(repository, "trial")}


def settings() -> Config:
    return load()


@pytest.mark.heavy
def test_without_mlflow_the_files_are_there_all_the_same(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    (repository / "mlflow.db").write_text("not a database at all")
    command(COMMAND)
    assert "MLflow does not show the search" in caplog.text
    assert Path("artifacts/search/lora/best.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lora", "trails=3"], "search.trails.*: no such setting; did you mean 'trials'"),
        (["lora", "trials"], "'trials' is not a setting: expected one such as"),
        (["lora", "trials=many"], "search.trials.*valid integer.*'many'"),
        (["lora", "space.epochs.choices=[0]"], "search.space.epochs: Input should be greater than or equal to 1"),
        (["lora", "space.epochs.choices=[1"], r"space.epochs.choices=\[1"),
    ],
)
def test_bad_settings_are_one_clear_error(repository: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(WhetherError, match=message):
        command(["search", *arguments])
    assert not Path("artifacts/search").exists()


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackageError, match=r"needs the package 'optuna': pip install 'whether\[search\]'"):
        optuna()


@pytest.mark.heavy
def test_the_command_ends_with_a_status(repository: Path) -> None:
    command = [sys.executable, "-m", "whether.cli", "search"]
    failed = subprocess.run([*command, "base"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "error: base has no tuner to search settings for; known: lora\n"
