"""The history of retraining in MLflow: each retraining run once, below one MLflow run that grows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from tests.retrain.conftest import retraining_run
from whether.config import CONF, Config, check, compose
from whether.records import Finding, RetrainingRun, write_jsonl
from whether.tracking import store
from whether.tracking.retraining import publish_runs

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return check(yaml.safe_load(compose([f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"], ROOT / CONF)))


def some_runs(count: int) -> list[RetrainingRun]:
    return [
        retraining_run(number, task="snips", findings=[Finding("age", False, "young", float(number), 90.0)])
        for number in range(1, count + 1)
    ]


def show(config: Config, folder: Path, shown: Sequence[RetrainingRun]) -> str:
    write_jsonl(folder / "runs.jsonl", shown)
    (folder / "report.html").write_text(f"{len(shown)} runs")
    found = publish_runs(config, folder, folder)
    assert found
    return found


def mlflow_runs(config: Config) -> dict[str, Any]:
    client = MlflowClient(config.tracking.uri)
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    found = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def history(config: Config, run_id: str) -> list[tuple[int, float]]:
    return [
        (point.step, point.value)
        for point in MlflowClient(config.tracking.uri).get_metric_history(run_id, "trigger/age")
    ]


@pytest.mark.heavy
def test_a_further_run_adds_to_the_run_that_is_there(config: Config, tmp_path: Path) -> None:
    first = show(config, tmp_path, some_runs(2))
    assert show(config, tmp_path, some_runs(2)) == first
    assert show(config, tmp_path, some_runs(3)) == first
    found = mlflow_runs(config)
    assert set(found) == {"retraining-snips", *(f"retraining-{number:04d}-no_trigger" for number in (1, 2, 3))}
    assert found["retraining-snips"].info.status == "FINISHED"
    assert found["retraining-snips"].data.tags["mlflow.note.content"].startswith("3 retraining runs")
    assert {run.data.tags.get("mlflow.parentRunId") for name, run in found.items() if name != "retraining-snips"} == {
        first
    }
    assert history(config, first) == [(number, pytest.approx(number / 90)) for number in (1, 2, 3)]
    page = MlflowClient(config.tracking.uri).download_artifacts(first, "report.html")
    assert Path(page).read_text() == "3 runs"


@pytest.mark.heavy
def test_runs_that_were_missed_or_changed_are_shown_in_a_new_run(config: Config, tmp_path: Path) -> None:
    first = show(config, tmp_path, some_runs(2))
    second = show(config, tmp_path, some_runs(5))
    changed = [replace(some_runs(1)[0], reason="changed"), *some_runs(6)[1:]]
    third = show(config, tmp_path, changed)
    assert len({first, second, third}) == 3
    found = mlflow_runs(config)
    assert len(found) == 7
    assert {run.data.tags.get("mlflow.parentRunId") for name, run in found.items() if name != "retraining-snips"} == {
        third
    }
    assert [step for step, _ in history(config, third)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.heavy
@pytest.mark.parametrize("later", [3, 4])
@pytest.mark.parametrize("failing", [("log_batch", 2), ("log_artifact", 1), ("set_terminated", 2), ("set_tag", 2)])
def test_what_a_failure_leaves_of_a_further_run_is_made_whole(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, int], later: int
) -> None:
    """In the same run again, and in the next one."""
    show(config, tmp_path, some_runs(2))
    method, call = failing
    real, calls = getattr(MlflowClient, method), []

    def fails(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == call:  # those before are of the retraining run's own MLflow run
            raise OSError("the server is gone")
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, fails)
        write_jsonl(tmp_path / "runs.jsonl", some_runs(3))
        assert publish_runs(config, tmp_path, tmp_path) is None
    last = show(config, tmp_path, some_runs(later))
    found = mlflow_runs(config)
    assert len(found) == later + 1
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert history(config, last) == [(number, pytest.approx(number / 90)) for number in range(1, later + 1)]


@pytest.mark.heavy
def test_more_runs_than_a_page_holds_are_all_seen(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MlflowClient.search_runs

    def of_two(*args: Any, **options: Any) -> Any:
        return real(*args, **options, max_results=2)

    monkeypatch.setattr(MlflowClient, "search_runs", of_two)
    first = show(config, tmp_path, some_runs(6))
    assert show(config, tmp_path, some_runs(7)) == first
    monkeypatch.undo()
    assert len(mlflow_runs(config)) == 8
    assert store.CONTENT_KEY in mlflow_runs(config)["retraining-snips"].data.tags
