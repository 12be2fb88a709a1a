"""Arms of a pipeline run as versions of the task's registered model, in a real embedded database."""

import json
import signal
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from killing import start_publishing
from synthetic_records import ROOT, Records

from whether.bundle.bundle import load_bundle, make_bundle
from whether.errors import RecordError
from whether.records import Champion, Example, read_json, read_jsonl, sha256_file, write_json
from whether.tracking.candidates import registered_arms
from whether.tracking.models import publish_champion, register_models
from whether.tracking.publish import Receipt, publish
from whether.tracking.registry import ModelRegistry
from whether.tracking.store import Experiment

# MLflow's own, at every search; nobody sees it outside tests.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
NAME = "whether-snips"


@pytest.fixture(autouse=True)
def in_the_repository(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "registered" if "registered" in request.fixturenames else "records"
    monkeypatch.chdir(request.getfixturevalue(name).root)


def show(records: Records, **tracking: object) -> Receipt:
    config = replace(records.config, tracking=replace(records.config.tracking, **tracking))
    return publish(config, records.artifacts, registered_arms(config, records.artifacts))


def edit_verdict(records: Records, **changes: object) -> str:
    """Change the verdict; return its hash."""
    file = records.artifacts / "compare" / "verdict.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return sha256_file(file)


def client(records: Records) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{records.root / 'mlflow.db'}")


def versions(records: Records) -> list[Any]:
    return sorted(client(records).search_model_versions(f"name='{NAME}'"), key=lambda version: int(version.version))


def aliases(records: Records) -> dict[str, str]:
    """Alias → arm."""
    arms = {str(version.version): version.tags["arm"] for version in versions(records)}
    found = client(records).get_registered_model(NAME).aliases
    return {alias: arms[str(version)] for alias, version in found.items()}


def rows_of_registry(records: Records) -> list[tuple[Any, ...]]:
    tables = ("registered_models", "model_versions", "model_version_tags", "registered_model_aliases")
    with sqlite3.connect(records.root / "mlflow.db") as database:
        return [row for table in tables for row in sorted(database.execute(f"select * from {table}"), key=repr)]


def test_the_recommended_arm_is_a_version_of_its_arms_run(registered: Records) -> None:
    receipt = registered.receipt
    [version] = versions(registered)
    assert receipt.models == {"lora-zero_shot": f"{NAME}/{version.version}"}
    assert version.run_id == receipt.runs["lora-zero_shot"].run_id
    tags = version.tags
    assert (tags["arm"], tags["prompt"]) == ("lora-zero_shot", "prompts:/snips.zero_shot/1")
    pipeline = client(registered).get_run(receipt.parent_run_id)
    assert pipeline.data.tags["whether.content_key"].startswith(tags["verdict"])
    assert (float(tags["test/accuracy"]), float(tags["cost/usd_per_1k"])) == (0.88, 0.005)
    assert len(tags) < 8, "MLflow's list of versions shows every one"
    assert "accuracy 0.880 (0.830 to 0.930), 0.0050 USD per 1,000 requests; the verdict recommends it." in (
        version.description
    )
    assert f"/runs/{receipt.parent_run_id}" in version.description
    assert aliases(registered) == {"champion": "lora-zero_shot"}
    folder = Path(client(registered).download_artifacts(version.run_id, version.source.rpartition("/")[2]))
    described = yaml.safe_load((folder / "MLmodel").read_text())
    code = Path(described["flavors"]["python_function"]["model_code_path"]).name
    assert (folder / code).read_text() == (ROOT / "src/whether/tracking/pyfunc_model.py").read_text()
    assert [column["name"] for column in json.loads(described["signature"]["inputs"])] == ["text"]
    first = read_jsonl(registered.artifacts / "prepare" / "train.jsonl", Example)[0]
    assert json.loads((folder / "serving_input_example.json").read_text()) == {
        "dataframe_split": {"columns": ["text"], "data": [[first.inputs["text"]]]}
    }
    bundle = load_bundle(folder / "artifacts" / "bundle")
    adapter = "checkpoint/adapter/adapter_model.safetensors"
    assert bundle.record.files[adapter] == sha256_file(
        registered.artifacts / "finetune/lora/checkpoint/adapter" / Path(adapter).name
    )
    assert not list(folder.rglob("*.pkl"))
    [wheel] = (folder / "wheels").iterdir()
    assert f"./wheels/{wheel.name}" in (folder / "requirements.txt").read_text().splitlines()


@pytest.mark.heavy
def test_publishing_again_registers_nothing_and_another_verdict_is_said_of_the_version(registered: Records) -> None:
    first = registered.receipt
    before = rows_of_registry(registered)
    assert show(registered) == first
    assert rows_of_registry(registered) == before
    digest = edit_verdict(registered, reasons=["Measured anew."])
    second = show(registered)
    [version] = versions(registered)
    assert second.models == first.models
    assert digest.startswith(version.tags["verdict"])
    assert f"/runs/{second.parent_run_id}" in version.description


@pytest.mark.heavy
def test_what_another_machine_registers_meanwhile_is_registered_once(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another machine, which this one's lock does not bind, registers the same while this one uploads.
    upload = ModelRegistry.upload
    models = registered_arms(records.config, records.artifacts)
    assert models is not None

    def upload_last(registry: ModelRegistry, run_id: str, folder: Path, target: str) -> None:
        monkeypatch.setattr(ModelRegistry, "upload", upload)
        other = Experiment(client(records), client(records).get_run(run_id).info.experiment_id)
        register_models(other, replace(models, aliases={}), lambda _: run_id)
        upload(registry, run_id, folder, target)

    monkeypatch.setattr(ModelRegistry, "upload", upload_last)
    receipt = show(records)
    assert [str(version.version) for version in versions(records)] == ["1"]
    assert receipt.models == {"lora-zero_shot": f"{NAME}/1"}
    assert aliases(records) == {"champion": "lora-zero_shot"}


@pytest.mark.heavy
def test_other_weights_are_another_version(registered: Records) -> None:
    file = registered.artifacts / "finetune/lora/checkpoint/adapter/adapter_model.safetensors"
    file.write_text("other weights")
    show(registered)
    first, second = versions(registered)
    assert first.source != second.source
    assert aliases(registered) == {"champion": "lora-zero_shot"}
    assert client(registered).get_model_version_by_alias(NAME, "champion").version == second.version


@pytest.mark.heavy
def test_the_alias_goes_to_what_the_verdict_recommends_and_stays_where_it_is_inconclusive(registered: Records) -> None:
    edit_verdict(registered, answer="prompt", recommended_arm="base-knn")
    show(registered)
    assert aliases(registered) == {"champion": "base-knn"}
    assert [version.tags["arm"] for version in versions(registered)] == ["lora-zero_shot", "base-knn"]
    edit_verdict(registered, answer="inconclusive", recommended_arm="lora-zero_shot")
    show(registered)
    assert aliases(registered) == {"champion": "base-knn"}


@pytest.mark.heavy
def test_which_arms_are_registered(records: Records) -> None:
    arms = json.loads((records.artifacts / "compare" / "verdict.json").read_text())["arms"]
    for name, arm in arms.items():
        arm["dev"] = {"accuracy": 0.99 if name == "lora-knn" else 0.5}
    edit_verdict(records, arms=arms, answer="prompt", recommended_arm="base-knn")
    assert show(records, models="none").models == {}
    assert set(show(records, models="recommended").models) == {"base-knn"}
    assert set(show(records, models="tuned").models) == {"base-knn", "lora-knn"}
    edit_verdict(records, arms=arms, answer="inconclusive", recommended_arm=None)
    assert set(show(records).models) == {"lora-knn"}
    edit_verdict(records, arms=arms, recommended_arm="base-knn", answer="prompt", excluded={"lora-knn": "too slow"})
    assert set(show(records).models) == {"base-knn", "lora-zero_shot"}, "one that breaks a constraint comes last"


@pytest.mark.heavy
def test_where_retraining_has_a_champion_the_recommended_arm_is_the_challenger(registered: Records) -> None:
    folder = registered.root / "retrain"
    bundle = make_bundle("lora-zero_shot", registered.config, registered.artifacts, folder / "bundles")
    assert (registered.config.model.dtype, bundle.model.dtype) == ("auto", "bfloat16"), "the one that was measured"
    write_json(folder / "champion.json", Champion(bundle.record.id, None, "2026-03-05T00:00:00+00:00", 1, "first"))
    assert publish_champion(registered.config, folder, registered.root) == NAME
    assert len(versions(registered)) == 1, "the champion is the version that is there"
    assert versions(registered)[0].tags["whether.bundle"] == bundle.record.id
    show(registered)
    assert aliases(registered) == {"champion": "lora-zero_shot"}
    edit_verdict(registered, answer="prompt", recommended_arm="base-knn")
    show(registered)
    assert aliases(registered) == {"champion": "lora-zero_shot", "challenger": "base-knn"}
    better = make_bundle("base-knn", registered.config, registered.artifacts, folder / "bundles")
    before = read_json(folder / "champion.json", Champion)
    write_json(folder / "champion.json", replace(before, champion=better.record.id, previous=before.champion))
    publish_champion(registered.config, folder, registered.root)
    assert aliases(registered) == {"champion": "base-knn", "previous": "lora-zero_shot"}
    assert len(versions(registered)) == 2
    (folder / "champion.json").write_text("{")
    show(registered)
    assert aliases(registered) == {"champion": "base-knn", "previous": "lora-zero_shot"}


@pytest.mark.heavy
def test_a_full_disk_costs_a_warning_and_a_later_sync(
    records: Records, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(small_disk))
        models = registered_arms(records.config, records.artifacts)
        receipt = publish(records.config, records.artifacts, models, strict=False)
    assert receipt.pending
    assert "the model of lora-zero_shot cannot be registered" in str(receipt.reason)
    assert "the disk is full" in str(receipt.reason)
    assert not show(records).pending
    assert aliases(records) == {"champion": "lora-zero_shot"}


def test_an_arm_whose_weights_are_gone_is_no_model(records: Records) -> None:
    (records.artifacts / "finetune" / "lora").rename(records.artifacts / "gone")
    with pytest.raises(RecordError, match=r"finetune/lora/checkpoint is missing.*whether run"):
        registered_arms(records.config, records.artifacts)


@pytest.mark.real
@pytest.mark.parametrize(
    "kill_at",
    [
        pytest.param("log_artifacts", marks=pytest.mark.slow),
        "create_model_version",
        pytest.param("set_registered_model_alias", marks=pytest.mark.slow),
    ],
)
def test_a_kill_leaves_what_the_next_publication_makes_whole(records: Records, warm: Path, kill_at: str) -> None:
    process = start_publishing(warm, records, kill_at, 1)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output
    show(records)
    assert len(versions(records)) == 1
    assert aliases(records) == {"champion": "lora-zero_shot"}
