"""The files as MLflow shows them, in a real embedded database."""

import json
import logging
import signal
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from killing import start_publishing
from synthetic_records import CREATED, Records

from whether.errors import RecordError, TrackingError
from whether.records import Prediction, read_jsonl, write_json, write_jsonl
from whether.tracking.names import storable
from whether.tracking.publish import Receipt, publish
from whether.tracking.reading import TRACES

# MLflow's own, at every search; nobody sees it outside tests.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

ARMS = {f"{checkpoint}-{prompt}" for checkpoint in ("base", "lora") for prompt in ("zero_shot", "few_shot", "knn")}
POINTS = {f"curve-{labels}-{seed}" for labels in (20, 50, 120) for seed in (0, 1)}
STAGES = ARMS | POINTS | {"base", "lora", "benchmark-base", "benchmark-lora", "learning-curve"}


@pytest.fixture(autouse=True)
def in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing depends on where the process runs."""
    monkeypatch.chdir(tmp_path)


def publish_records(records: Records) -> Receipt:
    return publish(records.config, records.artifacts)


def client(records: Records) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{records.root / 'mlflow.db'}")


def active_runs(records: Records) -> list[Any]:
    mlflow = client(records)
    experiment = mlflow.get_experiment_by_name("whether/snips")
    return list(mlflow.search_runs([experiment.experiment_id]))


def named(records: Records) -> dict[str, Any]:
    runs = active_runs(records)
    found = {"pipeline" if run.data.tags["whether.kind"] == "pipeline" else run.info.run_name: run for run in runs}
    assert len(found) == len(runs)
    return found


def rows_of_database(records: Records) -> list[tuple[Any, ...]]:
    tables = ("runs", "metrics", "latest_metrics", "params", "tags", "datasets", "inputs", "input_tags", "experiments")
    with sqlite3.connect(records.root / "mlflow.db") as database:
        return [row for table in tables for row in sorted(database.execute(f"select * from {table}"), key=repr)]


def test_a_run_for_the_pipeline_and_one_for_each_stage(published: Records) -> None:
    receipt = published.receipt
    runs = named(published)
    assert set(runs) == {"pipeline", *STAGES}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent = runs.pop("pipeline")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert parent.info.run_name == "2026-03-04 05:06 snips SmolLM2-135M-Instruct be204b6c+"
    assert receipt.parent_run_id == parent.info.run_id
    assert not receipt.pending
    assert {name: run.run_id for name, run in receipt.runs.items() if name in STAGES} == {
        name: run.info.run_id for name, run in runs.items()
    }
    json.dumps(receipt.runs["lora-knn"].content_key)


def test_the_pipeline_says_the_verdict(published: Records) -> None:
    parent = named(published)["pipeline"]
    tags, metrics, params = parent.data.tags, parent.data.metrics, parent.data.params
    assert (tags["answer"], tags["recommended_arm"], tags["task"]) == ("fine_tune", "lora-zero_shot", "snips")
    assert (tags["commit"], tags["dirty"], tags["data_hash"]) == ("be204b6c" * 5, "true", "a" * 32)
    assert tags["dtype"] == params["model.dtype"] == "bfloat16", "what auto stood for"
    assert metrics["test/accuracy"] == 0.88
    assert metrics["test/accuracy_ci_low"] == pytest.approx(0.83)
    assert metrics["cost/usd_per_1k"] == pytest.approx(0.005)
    assert "latency/p95" not in metrics, "what was not measured is not logged"
    assert params["checkpoints.lora.tuner.adapter.r"] == "16"
    assert params["arms.prompt"] == '["zero_shot", "few_shot", "knn"]'
    note = tags["mlflow.note.content"]
    assert note.startswith("**Fine-tune")
    assert "lora-zero_shot answers 88.0%" in note
    assert "0.880 (0.830 to 0.930)" in note
    assert note.index("[lora-knn]") < note.index("[lora-zero_shot]") < note.index("[base-zero_shot]"), "best first"
    assert "From the cache" not in note
    inputs = {item.dataset.name: item for item in parent.inputs.dataset_inputs}
    assert set(inputs) == {"snips/train", "snips/dev", "snips/test"}
    assert inputs["snips/test"].dataset.digest == "0" * 32 + ".dir"
    assert json.loads(inputs["snips/test"].dataset.profile) == {"num_rows": 30}
    assert (parent.info.start_time, parent.info.end_time) == (CREATED.timestamp() * 1000, CREATED.timestamp() * 1000)
    artifacts = Path(client(published).download_artifacts(parent.info.run_id, ""))
    assert artifacts.is_relative_to(published.root / "mlartifacts")
    assert {str(file.relative_to(artifacts)) for file in artifacts.rglob("*") if file.is_file()} == {
        "curve_points.json", "data.txt", "leaderboard.csv", "learning_curve.csv", "metrics.json", "params.yaml",
        "report.html",
        "verdict.json", "plots/accuracy.svg", "plots/learning_curve.svg",
        "prepare/labels.svg", "prepare/profile.json", "prepare/task.json",
    }  # fmt: skip


def test_the_list_of_arms_opens_with_their_metrics_best_first(published: Records) -> None:
    pipeline = named(published)["pipeline"]
    number = pipeline.info.experiment_id
    state = json.loads(client(published).get_experiment(number).tags["mlflow.sharedViewState.whether-arms"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/accuracy`", False)
    columns = [column.removeprefix("metrics.`").removesuffix("`") for column in state["selectedColumns"]]
    assert columns[:3] == ["test/accuracy", "test/accuracy_ci_low", "test/accuracy_ci_high"]
    arms = client(published).search_runs([number], state["searchFilter"])
    assert {run.data.tags["whether.kind"] for run in arms} == {"arm"}
    assert set(columns) <= {name for run in arms for name in run.data.metrics}
    assert f"#/experiments/{number}/runs?viewStateShareKey=whether-arms" in pipeline.data.tags["mlflow.note.content"]


def test_a_checkpoint_shows_its_curves(published: Records) -> None:
    run = named(published)["lora"]
    losses = client(published).get_metric_history(run.info.run_id, "finetune/loss")
    assert [point.step for point in losses] == list(range(1, 41))
    assert losses[0].timestamp < losses[-1].timestamp <= run.info.end_time
    dev = client(published).get_metric_history(run.info.run_id, "finetune/dev_loss")
    assert [point.step for point in dev] == [10, 20, 30, 40], "the kept weights' loss is no step of the curve"
    assert run.data.metrics["training/dev_loss"] == 0.05
    prices = {key: value for key, value in run.data.metrics.items() if key.startswith("cost/")}
    assert prices == {"cost/training_usd_labels": 6.0, "cost/training_usd_machine": 0.002, "cost/training_usd": 6.002}
    assert run.data.params["checkpoints.lora.tuner.adapter.r"] == "16"
    assert not any(key.startswith("prompts") for key in run.data.params)
    files = {file.path for file in client(published).list_artifacts(run.info.run_id)}
    assert {"loss.svg", "history.jsonl"} <= files
    assert "adapter" not in files, "weights stay where they are"


def test_an_arm_shows_its_answers_side_by_side(published: Records) -> None:
    run = named(published)["base-knn"]
    assert (run.data.tags["checkpoint"], run.data.tags["prompt"]) == ("base", "knn")
    assert run.data.params["prompts.knn.strategy.examples"] == "8"
    assert not any("few_shot" in key or "lora" in key for key in run.data.params)
    assert run.data.metrics["test/accuracy"] == run.data.metrics["dev/accuracy"] == 0.84
    assert run.data.metrics["latency/p50"] == 0.2
    table = json.loads(Path(client(published).download_artifacts(run.info.run_id, "predictions.json")).read_text())
    assert len(table["data"]) == 45
    row = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (row["id"], row["split"], row["input"]) == ("dev-0", "dev", "utterance 0 of dev")
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "predictions.json", "type": "table"}]


@pytest.mark.heavy
def test_arms_that_are_compared_show_some_answers_as_traces_each_once(published: Records) -> None:
    run, mlflow = named(published)["base-knn"], client(published)
    experiment = run.info.experiment_id

    def traces() -> dict[str, Any]:
        found = mlflow.search_traces(locations=[experiment], run_id=run.info.run_id)
        return {trace.info.client_request_id: trace for trace in found}

    before = traces()
    assert 0 < len(before) <= TRACES
    rows = {row.id: row for row in read_jsonl(published.artifacts / "score/base-knn/predictions.jsonl", Prediction)}
    for example, trace in before.items():
        assert trace.info.response_preview == rows[example].output
        assert [span.name for span in trace.data.spans] == ["base-knn", "model"]
        assert trace.data.spans[1].inputs == rows[example].prompt
        values = {one.name: one.value for one in trace.info.assessments}
        assert values == {
            "expected_response": rows[example].target,
            "score": rows[example].score,
            "valid": rows[example].valid,
        }
    some = next(iter(before.values())).info.trace_id
    mlflow.delete_traces(experiment, trace_ids=[some])
    assert len(traces()) == len(before) - 1
    publish_records(published)
    assert {key: trace.info.trace_id for key, trace in traces().items()} == {
        key: trace.info.trace_id for key, trace in before.items()
    }


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain 😀", "plain 😀"),
        ("a\0b", "a␀b"),
        ("half \ud83d!", "half \ufffd!"),
        ("\udc00", "\ufffd"),
    ],
)
def test_what_no_database_keeps_is_shown_by_another_character(text: str, stored: str) -> None:
    assert storable(text) == stored


@pytest.mark.heavy
def test_a_trace_of_an_answer_with_a_nul_can_be_stored_anywhere(records: Records) -> None:
    path = records.artifacts / "score/base-knn/predictions.jsonl"
    rows = read_jsonl(path, Prediction)
    write_jsonl(path, [replace(row, output=f"{row.output}\0") for row in rows])
    publish_records(records)
    run = named(records)["base-knn"]
    traces = client(records).search_traces(locations=[run.info.experiment_id], run_id=run.info.run_id)
    assert traces
    assert all(trace.info.response_preview.endswith("␀") for trace in traces)
    assert all(trace.data.spans[1].outputs.endswith("␀") for trace in traces)


@pytest.mark.heavy
def test_a_benchmark_shows_what_was_kept(published: Records) -> None:
    metrics = named(published)["benchmark-lora"].data.metrics
    assert metrics["retention/mean"] == 0.515
    assert metrics["retention/date_understanding_none"] == 0.35
    assert metrics["serving/disk"] == 19_600_000
    assert metrics["benchmark/tokens_per_second_decode"] == 9
    assert "retention/perplexity" not in metrics
    assert all("/" in metric for metric in metrics), "every number is in a group of charts"


@pytest.mark.heavy
def test_publishing_again_adds_nothing_anywhere(published: Records) -> None:
    first = published.receipt
    before = rows_of_database(published)
    assert publish_records(published) == first
    assert rows_of_database(published) == before


def test_the_learning_curve_is_drawn_over_the_number_of_labels(published: Records) -> None:
    runs = named(published)
    run = runs["learning-curve"]
    tuned = client(published).get_metric_history(run.info.run_id, "curve/tuned")
    assert [(point.step, round(point.value, 3)) for point in tuned] == [(20, 0.6), (50, 0.84), (120, 0.933)]
    assert len(client(published).get_metric_history(run.info.run_id, "curve/prompting_ci_high")) == 3
    metrics = run.data.metrics
    assert (metrics["curve/crossover_labels"], metrics["curve/crossover_usd"]) == (32, 3.2)
    assert "curve/crossover_labels_ci_high" not in metrics, "an open end has no number"
    assert "lora overtakes." in run.data.tags["mlflow.note.content"]
    assert "\n- lora overtakes." in runs["pipeline"].data.tags["mlflow.note.content"]
    point = runs["curve-50-1"]
    assert point.data.metrics["curve/labels"] == 50
    assert point.data.metrics["curve/test/base-knn"] == 0.7
    assert point.data.params["curve.tuner.adapter.r"] == "16"
    assert (point.data.tags["labels"], point.data.tags["curve_seed"]) == ("50", "1")


@pytest.mark.heavy
def test_without_a_learning_curve_there_is_no_run_for_it(records: Records) -> None:
    off = replace(records.config.curve, labels=[], seeds=[])
    records.config = replace(records.config, curve=off)
    records.write_verdict()
    publish_records(records)
    assert set(named(records)) == {"pipeline", *STAGES} - POINTS - {"learning-curve"}


@pytest.mark.heavy
def test_a_stage_from_the_cache_is_referred_to(published: Records) -> None:
    first = published.receipt
    published.write_arm("lora", "knn", seed=1)
    published.write_verdict(created=CREATED + timedelta(hours=1))
    second = publish_records(published)
    runs = active_runs(published)
    kinds = [run.data.tags["whether.kind"] for run in runs]
    assert (kinds.count("pipeline"), kinds.count("arm"), len(kinds)) == (2, 7, 20)
    assert {name for name in STAGES if first.runs[name].run_id != second.runs[name].run_id} == {"lora-knn"}
    assert second.runs["base-knn"].made_by == first.parent_run_id
    note = client(published).get_run(second.parent_run_id).data.tags["mlflow.note.content"]
    made, cached = (line for line in note.splitlines() if line.startswith(("- Made", "- From the cache")))
    assert (made.count("["), cached.count("[")) == (1, 16)
    assert f"[lora-knn](#/experiments/2/runs/{second.runs['lora-knn'].run_id}?" in made
    assert f"[base](#/experiments/2/runs/{first.runs['base'].run_id}?" in cached


@pytest.mark.heavy
def test_arms_are_shown_anew_when_the_price_list_changed(published: Records) -> None:
    first = published.receipt
    published.write_verdict(usd_per_hour=0.4)
    second = publish_records(published)
    assert {name for name in STAGES if first.runs[name].run_id != second.runs[name].run_id} == ARMS
    assert client(published).get_run(second.runs["lora-knn"].run_id).data.metrics["cost/usd_per_1k"] == pytest.approx(
        0.02
    )


@pytest.mark.heavy
def test_what_a_person_deleted_comes_back_alone(published: Records) -> None:
    first = published.receipt
    mlflow = client(published)
    mlflow.delete_run(first.parent_run_id)
    mlflow.delete_run(first.runs["lora-knn"].run_id)
    second = publish_records(published)
    runs = named(published)
    assert set(runs) == {"pipeline", *STAGES}
    assert {name for name in STAGES if first.runs[name].run_id != second.runs[name].run_id} == {"lora-knn"}
    parents = {run.data.tags["mlflow.parentRunId"] for name, run in runs.items() if name != "pipeline"}
    assert parents == {second.parent_run_id}, "what hung below the deleted run hangs below the new one"


@pytest.mark.heavy
def test_two_experiments_do_not_share_runs(published: Records) -> None:
    first = published.receipt
    config = published.tracked_at(published.config.tracking.uri, experiment="mine")
    second = publish(config, published.artifacts)
    assert second.experiment == "mine"
    assert not {run.run_id for run in first.runs.values()} & {run.run_id for run in second.runs.values()}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kill_at", "count"),
    [
        pytest.param("log_batch", 1, id="the first stage is empty", marks=pytest.mark.slow),
        pytest.param("log_artifact", 12, id="an arm is half there"),
        pytest.param("set_tag", 1, id="only the pipeline's own run is empty", marks=pytest.mark.slow),
    ],
)
def test_a_killed_publication_is_finished_by_the_next(records: Records, warm: Path, kill_at: str, count: int) -> None:
    process = start_publishing(warm, records, kill_at, count)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output
    assert "RUNNING" in {run.info.status for run in active_runs(records)}
    publish_records(records)
    runs = named(records)
    assert set(runs) == {"pipeline", *STAGES}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for name, run in runs.items() if name != "pipeline"} == {
        runs["pipeline"].info.run_id
    }
    losses = client(records).get_metric_history(runs["lora"].info.run_id, "finetune/loss")
    assert [point.step for point in losses] == list(range(1, 41))


@pytest.mark.heavy
@pytest.mark.parametrize("kill_at", ["log_spans", pytest.param("start_trace", marks=pytest.mark.slow)])
def test_a_publication_killed_at_a_trace_leaves_each_trace_whole_and_once(
    records: Records, warm: Path, kill_at: str
) -> None:
    """Between a trace's spans and its record, or before both: of an arm that has some traces already."""
    process = start_publishing(warm, records, kill_at, 7)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output
    publish_records(records)
    traces = [
        (name, trace)
        for name, run in named(records).items()
        for trace in client(records).search_traces(locations=[run.info.experiment_id], run_id=run.info.run_id)
    ]
    examples = {name: [trace.info.client_request_id for other, trace in traces if other == name] for name, _ in traces}
    assert len(examples) > 1
    for told in examples.values():
        assert len(told) == len(set(told)) > 1
        assert set(told) == set(next(iter(examples.values())))
    assert all([span.name for span in trace.data.spans] == [name, "model"] for name, trace in traces)
    assert all(len(trace.info.assessments) == 3 for _, trace in traces)


@pytest.mark.real
def test_four_at_once_make_one_database_and_each_run_once(bare_records: Records, warm: Path) -> None:
    (bare_records.root / ".mlflow.db.new").write_text("what a killed process left")
    processes = [start_publishing(warm, bare_records) for _ in range(4)]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert outputs == [""] * 4, "nothing is printed when all is well"
    assert set(named(bare_records)) == {"pipeline", *STAGES}


def test_tracking_can_be_off(bare_records: Records) -> None:
    config = bare_records.tracked_at("sqlite:///mlflow.db", enabled=False)
    receipt = publish(config, bare_records.artifacts)
    assert receipt.runs == {}
    assert receipt.reason == "tracking.enabled is false"
    assert not (bare_records.root / "mlflow.db").exists()


@pytest.mark.heavy
@pytest.mark.parametrize("uri", ["postgresql://user:secret@host/db", "mlruns", "http://", "sqlite://"])
def test_an_address_of_the_wrong_form(records: Records, uri: str, caplog: pytest.LogCaptureFixture) -> None:
    config = records.tracked_at(uri)
    with pytest.raises(TrackingError, match="expected sqlite:///<file>") as error:
        publish(config, records.artifacts)
    assert "secret" not in str(error.value)
    receipt = publish(config, records.artifacts, strict=False)
    assert receipt.pending
    assert "expected sqlite" in str(receipt.reason)


def test_a_file_that_is_no_database(bare_records: Records) -> None:
    (bare_records.root / "mlflow.db").write_text("This is a text, and no database at all.")
    with pytest.raises(TrackingError, match="is not an SQLite database"):
        publish_records(bare_records)


@pytest.mark.heavy
def test_a_repository_that_was_moved(records: Records) -> None:
    publish_records(records)
    moved = records.root.rename(records.root.with_name("moved"))
    with pytest.raises(TrackingError, match=r"was moved or copied.*Delete mlflow\.db"):
        publish(records.config, moved / "artifacts")


def test_an_experiment_that_was_deleted(published: Records) -> None:
    mlflow = client(published)
    mlflow.delete_experiment(mlflow.get_experiment_by_name("whether/snips").experiment_id)
    with pytest.raises(TrackingError, match="'whether/snips' was deleted in MLflow: restore it"):
        publish_records(published)


def test_a_missing_record_is_named(records: Records) -> None:
    (records.artifacts / "score" / "lora-knn" / "predictions.jsonl").unlink()
    with pytest.raises(RecordError, match=r"lora-knn/predictions\.jsonl is missing"):
        publish_records(records)
    assert client(records).get_experiment_by_name("whether/snips") is None, "nothing was begun"


@pytest.mark.heavy
def test_without_git_dvc_or_a_recommended_arm(records: Records) -> None:
    from whether.records import Verdict, read_json

    (records.root / "dvc.lock").unlink()
    file = records.artifacts / "compare" / "verdict.json"
    verdict = read_json(file, Verdict)
    provenance = replace(verdict.provenance, commit=None, dirty=None)
    write_json(
        file, replace(verdict, answer="inconclusive", recommended_arm=None, provenance=provenance, further_labels=1200)
    )
    publish_records(records)
    parent = named(records)["pipeline"]
    assert parent.info.run_name.endswith("no-commit")
    counted = {"data/read": 110, "data/duplicates": 5, "data/used": 105, "data/test_groups": 28}
    assert parent.data.metrics == counted
    assert "About 1,200 more labelled test examples" in parent.data.tags["mlflow.note.content"]
    assert parent.inputs.dataset_inputs[0].dataset.digest == "a" * 32


@pytest.mark.heavy
def test_a_long_value_is_cut_and_a_secret_taken_out(records: Records) -> None:
    config = records.config
    task = replace(config.task, instruction="é" * 7000)
    tracking = replace(config.tracking, experiment="http://user:hunter2@host")
    publish(replace(config, task=task, tracking=tracking), records.artifacts)
    text = repr(rows_of_database(records))
    assert "é" * 5000 in text
    assert "hunter2" not in text.replace(repr(tracking.experiment)[1:-1], "")


@pytest.mark.heavy
def test_the_log_is_silent(
    records: Records, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, logger="whether"):
        publish_records(records)
    assert capfd.readouterr() == ("", "")


def versions(records: Records, name: str) -> list[Any]:
    return sorted(client(records).search_prompt_versions(name), key=lambda found: int(found.version))


def champions(records: Records) -> set[str]:
    from mlflow.exceptions import MlflowException

    mlflow, found = client(records), set()
    for prompt in mlflow.search_prompts():
        try:
            found.add(f"{prompt.name}/{mlflow.get_prompt_version_by_alias(prompt.name, 'champion').version}")
        except MlflowException:
            continue
    return found


def test_each_prompt_is_registered_once_and_linked_to_its_arms(published: Records) -> None:
    assert {prompt.name for prompt in client(published).search_prompts()} == {
        "snips.zero_shot", "snips.few_shot", "snips.knn",
    }  # fmt: skip
    [experiment] = {run.info.experiment_id for run in active_runs(published)}
    assert {prompt.tags["_mlflow_experiment_ids"] for prompt in client(published).search_prompts()} == {
        f",{experiment},"
    }
    [version] = versions(published, "snips.knn")
    example = published.examples["dev"][0]
    assert "{{ text }}" in version.template
    assert example.inputs["text"] not in version.template
    assert version.tags["strategy._target_"] == "whether.prompt.strategies.knn"
    runs = named(published)
    for arm in ("base-knn", "lora-knn"):
        assert json.loads(runs[arm].data.tags["mlflow.linkedPrompts"]) == [{"name": "snips.knn", "version": "1"}]


@pytest.mark.heavy
def test_publishing_again_registers_nothing_and_another_text_is_another_version(published: Records) -> None:
    publish_records(published)
    assert len(versions(published, "snips.knn")) == 1
    for arm in ("base-knn", "lora-knn"):
        file = published.artifacts / "generate" / arm / "prompt.txt"
        file.write_text(file.read_text() + "\nBe brief.")
    publish_records(published)
    first, second = versions(published, "snips.knn")
    assert second.template == f"{first.template}\nBe brief."
    assert len(versions(published, "snips.few_shot")) == 1


@pytest.mark.heavy
@pytest.mark.parametrize("page", [1, 1000])
def test_the_recommended_arms_prompt_is_the_champion_and_only_it(
    records: Records, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("whether.tracking.registry.PAGE", page)
    file = records.artifacts / "compare" / "verdict.json"
    verdict = json.loads(file.read_text())
    for answer, recommended, expected in [
        ("both", "lora-knn", {"snips.knn/1"}),
        ("fine_tune", "lora-zero_shot", {"snips.zero_shot/1"}),
        ("inconclusive", "lora-zero_shot", set()),
    ]:
        file.write_text(json.dumps(verdict | {"answer": answer, "recommended_arm": recommended}))
        publish_records(records)
        assert champions(records) == expected
