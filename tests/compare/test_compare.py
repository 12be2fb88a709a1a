"""From the records of the other stages to artifacts/compare."""

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter
from synthetic_study import REALISTIC, ROOT, compare_and_report, settings, verdict_of, write_study

from whether.compare import measure
from whether.compare.compare import compare
from whether.compare.measure import clustered
from whether.compare.provenance import provenance
from whether.compare.results import load_results
from whether.config import Config
from whether.errors import ConfigError, RecordError
from whether.records import Verdict, output_folder, read_json, read_jsonl, write_json, write_jsonl
from whether.stats.inference import mean_interval
from whether.stats.intervals import InferenceSettings

SCHEMA = ROOT / "docs" / "verdict.schema.json"
PROMISED = {
    "answer", "recommended_arm", "reasons", "task", "model", "arms", "comparisons", "provenance",
}  # fmt: skip
OURS = {
    "further_labels", "metric", "baseline", "representatives", "status", "excluded", "raced", "interactions",
    "unreported_interactions",
    "break_even", "training", "policy",
    "pricing", "learning_curve", "aspects", "retention", "metrics", "schema_version", "title",
}  # fmt: skip


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), invalid={"base-few_shot": 0.3})


@pytest.fixture(scope="module")
def config() -> Config:
    return settings("policy.resamples=400")


@pytest.fixture(scope="module")
def folder(artifacts: Path, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    compare(config, artifacts=artifacts, folder=folder)
    return folder


def test_verdict_keeps_its_contract(folder):
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict.keys() == PROMISED | OURS
    arm = verdict["arms"]["lora-knn"]
    assert arm.keys() == {"checkpoint", "prompt", "answer", "metrics", "dev", "by_run", "failed", "leniencies"}
    assert arm["metrics"]["accuracy"].keys() == {"value", "ci_low", "ci_high", "n", "unit", "higher_is_better"}
    assert {"usd_per_1k", "latency_p95"} <= arm["metrics"].keys()
    assert verdict["comparisons"][0].keys() == {
        "arm_a", "arm_b", "metric", "difference", "ci_low", "ci_high", "p_value", "p_adjusted", "n", "conclusion",
        "family", "method", "power",
    }  # fmt: skip
    assert verdict["provenance"].keys() == {
        "commit", "dirty", "data_hash", "model_hash", "versions", "created_at", "settings", "backend",
        "dtype",
    }  # fmt: skip


def test_schema_is_fresh_and_holds_for_the_verdict(folder):
    import jsonschema

    schema = json.loads(SCHEMA.read_text())
    assert schema == TypeAdapter(Verdict).json_schema(), (
        "docs/verdict.schema.json is not what whether.records.Verdict says: run"
        " `python -c 'import json; from pydantic import TypeAdapter; from whether.records import Verdict;"
        " print(json.dumps(TypeAdapter(Verdict).json_schema(), indent=2))' > docs/verdict.schema.json`"
    )
    jsonschema.Draft202012Validator(schema).validate(json.loads((folder / "verdict.json").read_text()))


def test_numbers_are_those_of_the_predictions(folder, artifacts):
    verdict = read_json(folder / "verdict.json", Verdict)
    for name, arm in verdict.arms.items():
        rows = [row for row in read_jsonl(artifacts / "score" / name / "predictions.jsonl") if row["split"] == "test"]
        assert arm.metrics["accuracy"].value == pytest.approx(sum(row["score"] for row in rows) / 208)
        assert arm.metrics["valid_rate"].value == pytest.approx(sum(row["valid"] for row in rows) / 208)
        seconds = sum(row["seconds"] for row in rows) / 208
        assert arm.metrics["usd_per_1k"].value == pytest.approx(seconds * 1000 / 3600 * 0.10)
    families = [row.family for row in verdict.comparisons]
    assert (families.count("decision"), len(families)) == (3, 15)
    assert {row.metric for row in verdict.comparisons} == {"accuracy"}


@pytest.mark.heavy
def test_labels_are_paid_for_once_and_only_where_they_are_used(folder):
    arms = read_json(folder / "verdict.json", Verdict).arms
    built = {name: round(arm.metrics["usd_to_build"].value, 2) for name, arm in arms.items()}
    assert built == {
        "base-zero_shot": 0, "base-few_shot": 1.4, "base-knn": 38.1, "lora-zero_shot": 38.1, "lora-few_shot": 38.1,
        "lora-knn": 38.1,
    }  # fmt: skip


def test_training_costs_are_those_of_tuned_checkpoints(folder):
    training = read_json(folder / "verdict.json", Verdict).training
    assert training.keys() == {"lora"}
    cost = training["lora"]
    assert (cost.labels, cost.seconds, cost.flops, cost.energy) == (381, 171.5, 1.23e13, None)
    assert (cost.usd_labels, cost.usd_machine, cost.usd_energy) == (38.1, 171.5 * 0.1 / 3600, None)


def test_retention_is_compared_with_base_document_by_document(folder):
    arms = read_json(folder / "verdict.json", Verdict).arms
    base, tuned = (arms[name].metrics["retention_change"] for name in ("base-knn", "lora-knn"))
    assert (base.value, base.ci_low) == (0, None)
    assert tuned.ci_low < tuned.value < tuned.ci_high
    assert tuned.n == 240


@pytest.mark.heavy
def test_the_same_records_give_the_same_files(folder, artifacts, config, tmp_path):
    compare(config, artifacts=artifacts, folder=tmp_path)
    made_at = re.compile(r"20\d\d-\d\d-\d\dT[\d:+]+")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        again = tmp_path / file.relative_to(folder)
        assert made_at.sub("", file.read_text()) == made_at.sub("", again.read_text()), file.name


def test_tables(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics.keys() == REALISTIC.keys()
    rows = list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))
    assert [float(row["accuracy"]) for row in rows] == sorted((float(row["accuracy"]) for row in rows), reverse=True)
    assert len(list(csv.DictReader((folder / "comparisons.csv").read_text().splitlines()))) == 15
    outputs = read_jsonl(folder / "outputs.jsonl")
    assert len(outputs) == 208
    assert outputs[0]["arms"].keys() == REALISTIC.keys()


@pytest.mark.heavy
def test_folders_of_other_arms_are_left_alone(artifacts, tmp_path):
    verdict = verdict_of(settings("checkpoint=[base]", "prompt=[zero_shot,knn]", "policy.resamples=200"), artifacts)
    assert verdict.arms.keys() == {"base-zero_shot", "base-knn"}
    assert (verdict.answer, verdict.recommended_arm) == ("prompt", "base-knn")
    assert any("Nothing else was measured" in reason for reason in verdict.reasons)


@pytest.fixture
def copy(artifacts: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifacts, tmp_path / "artifacts"))


@pytest.mark.parametrize(
    "missing",
    [
        "score/lora-knn/predictions.jsonl",
        "score/base-knn",
        "finetune/lora",
        "benchmark/base/samples.jsonl",
        "prepare/task.json",
    ],
)
def test_a_missing_record_is_named(missing, copy, config, tmp_path):
    path = copy / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(RecordError, match=re.escape(missing)):
        compare(config, artifacts=copy, folder=tmp_path / "compare")
    assert not (tmp_path / "compare" / "verdict.json").exists()


def test_answers_to_other_examples_are_refused(copy, config, tmp_path):
    file = copy / "score" / "lora-knn" / "predictions.jsonl"
    rows = read_jsonl(file)
    write_jsonl(file, [{**row, "id": "strange"} if row["id"] == "test-3" else row for row in rows])
    with pytest.raises(RecordError, match=r"lora-knn.*1 are missing \(test-3\), 1 are unknown \(strange\)"):
        verdict_of(config, copy)


def test_what_tuning_changed_in_each_task_of_the_suite(folder, artifacts):
    tasks = read_json(folder / "verdict.json", Verdict).retention["lora"]
    results = {name: read_json(artifacts / "benchmark" / name / "results.json") for name in ("base", "lora")}
    assert tasks.keys() == results["lora"].keys()
    for task, found in tasks.items():
        assert (found.tuned, found.base) == (results["lora"][task]["value"], results["base"][task]["value"])
        assert found.difference == pytest.approx(found.tuned - found.base)
        assert found.ci_low < found.difference < found.ci_high
        assert found.n == 60


@pytest.mark.heavy
def test_what_was_not_measured_is_null(copy, config, tmp_path):
    file = copy / "benchmark" / "lora" / "metrics.json"
    write_json(file, read_json(file) | {"perplexity": None, "retention": None})
    compare_and_report(config, copy, tmp_path / "compare")
    arm = read_json(tmp_path / "compare" / "verdict.json", Verdict).arms["lora-knn"]
    assert arm.metrics["perplexity"].value is None
    assert arm.metrics["retention_change"].value is None
    assert "not measured" in (tmp_path / "compare" / "report.html").read_text()


def test_tokens_that_a_server_did_not_tell_are_null(copy, config, tmp_path):
    file = copy / "score" / "base-knn" / "predictions.jsonl"
    write_jsonl(file, [row | {"cached_tokens": None} for row in read_jsonl(file)])
    metrics = verdict_of(config, copy).arms["base-knn"].metrics
    assert metrics["computed_tokens"].value is None
    assert metrics["input_tokens"].value > 0


def test_requests_that_were_cut_are_told_beside_general_ability(copy, config, folder, tmp_path):
    before = read_json(folder / "verdict.json", Verdict)
    checkpoint = before.arms[before.recommended_arm].checkpoint
    assert checkpoint != "base"
    file = copy / "benchmark" / checkpoint / "metrics.json"
    write_json(file, read_json(file) | {"truncated_requests": 1234})
    reasons = verdict_of(config, copy).reasons
    (told,) = set(reasons) - set(before.reasons)
    assert "general ability" in told
    assert told.endswith(
        "1,234 requests of that suite are longer than the model's context window and lost their beginnings."
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("accuracies", "sizes"),
    [
        (dict.fromkeys(REALISTIC, 1.0), (20, 10, 60)),
        (dict.fromkeys(REALISTIC, 0.0), (20, 10, 60)),
        (REALISTIC, (7, 2, 2)),
        (REALISTIC, (7, 1, 1)),
    ],
    ids=["all right", "all wrong", "two test examples", "one test example"],
)
@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_degenerate_studies_have_a_verdict(accuracies, sizes, metric, tmp_path):
    artifacts = write_study(tmp_path / "artifacts", accuracies=accuracies, sizes=sizes)
    config = settings("policy.resamples=200", f"policy.metric={metric}")
    verdict = verdict_of(config, artifacts)
    write_json(tmp_path / "verdict.json", verdict)
    assert "NaN" not in (tmp_path / "verdict.json").read_text()
    assert verdict.answer == "inconclusive"
    if not any(accuracies.values()):
        assert any("None of the arms has learnt the task" in reason for reason in verdict.reasons)


@pytest.mark.heavy
def test_a_text_task_is_compared_by_exact_match(tmp_path):
    artifacts = write_study(tmp_path / "artifacts", output="text", sizes=(40, 30, 120))
    verdict = verdict_of(settings("policy.resamples=200"), artifacts)
    assert verdict.metric == "exact_match"
    assert not {"accuracy", "macro_f1"} & verdict.arms["lora-knn"].metrics.keys()
    with pytest.raises(ConfigError, match="'macro_f1' is not measured for the task snips"):
        verdict_of(settings("policy.metric=macro_f1"), artifacts)


def test_provenance_in_and_outside_a_repository(artifacts, tmp_path):
    assert provenance(artifacts, repository=tmp_path).commit is None

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "dvc.lock").write_text("1")
    (tmp_path / "params.yaml").write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    assert provenance(artifacts, repository=tmp_path).dirty is False
    (tmp_path / "dvc.lock").write_text("2")
    assert provenance(artifacts, repository=tmp_path).dirty is False
    (tmp_path / "params.yaml").write_text("2")
    assert provenance(artifacts, repository=tmp_path).dirty is True


@pytest.mark.heavy
def test_groups_of_test_examples_widen_every_interval_of_quality(artifacts, folder, config, tmp_path):
    grouped = tmp_path / "artifacts"
    shutil.copytree(artifacts, grouped)
    file = grouped / "prepare" / "test.jsonl"
    rows = read_jsonl(file)
    # Each group holds rows that base-few_shot answers alike, so that they tell less than as many independent ones.
    given = read_jsonl(artifacts / "score" / "base-few_shot" / "predictions.jsonl")
    answers = {row["id"]: row["score"] for row in given}
    ordered = sorted(rows, key=lambda row: answers[row["id"]])
    group = {row["id"]: f"customer{number // 6}" for number, row in enumerate(ordered)}
    write_jsonl(file, [{**row, "group": group[row["id"]]} for row in rows])
    with output_folder(tmp_path / "compare") as out:
        compare(config, artifacts=grouped, folder=out)
    before, after = (read_json(place / "verdict.json", Verdict) for place in (folder, tmp_path / "compare"))
    old, new = (verdict.arms["base-few_shot"].metrics["accuracy"] for verdict in (before, after))
    assert new.value == old.value
    assert new.ci_high - new.ci_low > 1.5 * (old.ci_high - old.ci_low)
    assert read_jsonl(tmp_path / "compare" / "outputs.jsonl")[0]["group"].startswith("customer")
    assert after.arms["base-few_shot"].metrics["retention"] == before.arms["base-few_shot"].metrics["retention"]


def test_an_example_without_a_group_is_a_unit_by_itself():
    settings = InferenceSettings()
    assert clustered([None, None, "x"], settings).clusters is None
    assert clustered(["x", "y"], settings).clusters is None
    assert clustered([None, "x", None, "x", "y"], settings).clusters.tolist() == [0, 1, 2, 1, 3]


def test_few_near_duplicates_change_an_interval_little():
    """Of 300 examples six are three pairs: the interval is nearly that of 300 independent ones."""
    values = np.random.default_rng(0).random(300) < 0.8
    groups = [f"pair {number // 2}" if number < 6 else None for number in range(300)]
    alone = mean_interval(values.astype(float), InferenceSettings())
    paired = mean_interval(values.astype(float), clustered(groups, InferenceSettings()))
    assert paired == pytest.approx(alone, abs=0.01)


@pytest.mark.heavy
def test_answers_to_unseen_labels_are_a_metric_of_their_own(artifacts, config, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(artifacts, study, symlinks=True)
    for name, right in {"base-knn": 5, "lora-knn": 0}.items():
        file = study / "score" / name / "predictions.jsonl"
        rows = read_jsonl(file)
        more = [
            rows[0] | {"id": f"new-{number}", "split": "unseen", "target": "new", "score": float(number < right)}
            for number in range(8)
        ]
        write_jsonl(file, rows + more)
    compare_and_report(config, study, tmp_path / "out")
    arms = read_json(tmp_path / "out" / "verdict.json", Verdict).arms
    assert {name: arm.metrics["unseen_labels"].value for name, arm in arms.items() if "knn" in name} == {
        "base-knn": 0.625, "lora-knn": 0.0,
    }  # fmt: skip
    assert arms["lora-knn"].metrics["unseen_labels"].ci_high > 0.2
    assert arms["base-zero_shot"].metrics["unseen_labels"].value is None
    assert "unseen labels" in (tmp_path / "out" / "report.html").read_text()

    # Of rows that come from two customers, which are right and wrong together, less is known than of eight.
    rows = [
        {"id": f"new-{number}", "inputs": {"text": "x"}, "target": "new", "group": f"customer {number // 5}"}
        for number in range(8)
    ]
    write_jsonl(study / "prepare" / "unseen.jsonl", rows)
    alone = arms["base-knn"].metrics["unseen_labels"]
    grouped = verdict_of(config, study).arms["base-knn"].metrics["unseen_labels"]
    assert grouped.value == alone.value
    assert grouped.ci_high - grouped.ci_low > alone.ci_high - alone.ci_low


def test_a_tuned_arm_that_gives_one_answer_has_collapsed(artifacts: Path, config: Config) -> None:
    study = load_results(config, artifacts)
    arm = study.arms["lora-knn"]
    answers = [*["play_music"] * 200, *["rate_book"] * (len(arm.test) - 200)]
    same = replace(arm, test=[replace(row, answer=answer) for row, answer in zip(arm.test, answers, strict=True)])
    assert measure.collapsed_to(arm, study) is None
    assert measure.collapsed_to(same, study) == ("play_music", 200 / len(arm.test))
    frequent = replace(study, examples=[replace(row, target="play_music") for row in study.examples])
    assert measure.collapsed_to(same, frequent) is None
