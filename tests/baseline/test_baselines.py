"""Small models that answer without a language model: fitted, saved and read again, and used as a bundle."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.compare.synthetic_study import REALISTIC, compare_and_report, settings, write_study
from whether.baseline.baseline import make_model, run_baseline
from whether.baseline.data import Baseline, BaselineData, LabelledTexts
from whether.baseline.linear import Linear
from whether.baseline.nearest import Nearest
from whether.bundle.bundle import make_bundle
from whether.bundle.champion import promote
from whether.bundle.predictor import BundlePredictor
from whether.config import BaselineConfig
from whether.errors import ConfigError, DataError
from whether.prompt.baselines import write_baseline_rows
from whether.records import (
    BaselineRecord,
    BaselineRow,
    BaselineTask,
    Example,
    Prediction,
    fitted_baselines,
    output_folder,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from whether.retrain.warm import with_warm_start
from whether.score.score import read_task, score_baseline

WORDS = {"music": "play some {} songs", "weather": "will it rain on day {}", "books": "rate the novel {}"}


def texts(labels: list[str], start: int) -> LabelledTexts:
    rows = [(WORDS[label].format(start + number), label) for number, label in enumerate(labels)]
    return LabelledTexts([text for text, _ in rows], [label for _, label in rows])


def data(labels: list[str] = [*WORDS], dev: list[str] | None = None) -> BaselineData:  # noqa: B006
    return BaselineData(texts(labels * 8, 0), texts(dev or labels * 4, 500), seed=0)


@pytest.mark.parametrize("labels", [["music", "weather"], [*WORDS]])
@pytest.mark.parametrize("kind", [Linear, Nearest])
def test_what_was_fitted_is_read_again(kind: type, labels: list[str], tmp_path: Path) -> None:
    made: Baseline = kind()
    made.fit(data(labels))
    asked = texts(labels * 5, 900)
    assert made.answer(asked.texts) == asked.targets
    made.save(tmp_path)
    again: Baseline = kind()
    again.load(tmp_path)
    assert again.answer(asked.texts) == asked.targets
    assert again.parameters == made.parameters
    assert {file.suffix for file in tmp_path.iterdir()} <= {".json", ".safetensors"}


def test_a_label_that_dev_alone_has_is_never_answered_and_stops_nothing() -> None:
    made = Linear()
    made.fit(data(["music", "weather"], dev=["music", "weather", "books"]))
    assert set(made.answer(texts(["books", "music"], 3).texts)) <= {"music", "weather"}
    made.fit(data(["music", "weather"], dev=["books"] * 3))


def test_one_label_cannot_be_fitted() -> None:
    with pytest.raises(DataError, match=r"every training row has the same answer, 'music': .*baseline=\[\]"):
        Linear().fit(data(["music"]))


@pytest.mark.parametrize("kind", [Linear, Nearest])
@pytest.mark.parametrize("inputs", [["🙂", "🙁"], ["!!", "??"], ["天气很好", "我不喜欢"]])
def test_texts_without_words_are_told_by_their_characters(kind: type, inputs: list[str], tmp_path: Path) -> None:
    known = LabelledTexts(inputs * 3, ["good", "bad"] * 3)
    made: Baseline = kind()
    made.fit(BaselineData(known, known, seed=0))
    assert made.answer(inputs) == ["good", "bad"]
    made.save(tmp_path)
    again: Baseline = kind()
    again.load(tmp_path)
    assert again.answer([*inputs, ""])[:2] == ["good", "bad"]


@pytest.mark.parametrize("kind", [Linear, Nearest])
def test_blank_inputs_cannot_be_fitted(kind: type) -> None:
    blank = LabelledTexts(["", " "], ["good", "bad"])
    with pytest.raises(DataError, match="every training input is blank"):
        kind().fit(BaselineData(blank, blank, seed=0))


def test_settings_are_chosen_without_dev_where_there_is_none() -> None:
    made = Linear()
    made.fit(BaselineData(texts(["music", "weather"] * 4, 0), LabelledTexts([], []), seed=0))
    assert made.answer(["play some songs"]) == ["music"]


def test_many_inputs_are_answered_in_their_order() -> None:
    made = Nearest()
    made.fit(data())
    asked = texts([*WORDS] * 100, 900)
    assert made.answer(asked.texts) == asked.targets


def test_imbalanced_labels_count_equally() -> None:
    """Rows whose words tell nothing get the frequent label, unless labels count equally."""
    train = LabelledTexts(["a b"] * 20, ["often"] * 18 + ["seldom"] * 2)
    usual, equal = Linear(inverse_regularisation=[1.0]), Linear(inverse_regularisation=[1.0])
    usual.fit(BaselineData(train, train, 0))
    equal.fit(BaselineData(train, train, 0, balanced=True))
    assert usual.answer(["a b"]) == ["often"]
    scores = equal._vectors.of(["a b"]) @ equal._weights.T + equal._intercepts
    assert abs(scores.item()) < 0.05


def test_a_class_that_is_not_a_baseline_is_named() -> None:
    with pytest.raises(ConfigError, match="NotOne has no fit, answer, save, load, parameters"):
        make_model({"_target_": "tests.baseline.test_baselines.NotOne"}, "baselines.mine.model")


class NotOne:
    pass


def test_one_that_cannot_answer_the_task_writes_that_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/task.json").write_text('{"name": "mine", "output": "json", "balanced": false}')
    one = BaselineConfig(model={"_target_": "whether.baseline.linear.Linear"}, outputs=["label"])
    run_baseline("linear", one, 0, settings("curve=none").serving, data=tmp_path / "data", folder=tmp_path / "made")
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["baseline.json"]
    record = read_json(tmp_path / "made/baseline.json", BaselineRecord)
    assert (record.fitted, record.reason) == (False, "it answers label, and the task has json")


def test_one_that_cannot_be_fitted_is_left_out_of_the_arms(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = BaselineRow("a", "some text", "music")
    for split in ("train", "dev", "test"):
        write_jsonl(tmp_path / "baseline/data" / f"{split}.jsonl", [row])
    write_json(tmp_path / "baseline/data/task.json", BaselineTask("mine", "label", balanced=False))
    config = settings("curve=none", "baseline=[linear]")
    made = tmp_path / "baseline/fitted/linear"
    one = config.baselines["linear"]
    run_baseline("linear", one, 0, config.serving, data=tmp_path / "baseline/data", folder=made)
    assert "linear is left out: every training row has the same answer" in caplog.text
    assert fitted_baselines(config.baseline_names, tmp_path) == []
    assert [file.name for file in made.iterdir()] == ["baseline.json"]


@pytest.mark.heavy
def test_from_rows_to_a_bundle_that_answers(tmp_path: Path) -> None:
    artifacts = write_study(tmp_path / "artifacts", accuracies=REALISTIC | {"linear": 0.9}, sizes=(90, 40, 60))
    config = settings("curve=none", "baseline=[linear]", "policy.resamples=200")
    baseline = artifacts / "baseline"
    with output_folder(baseline / "data") as folder:
        write_baseline_rows(artifacts / "prepare", folder)
    assert read_json(baseline / "data/task.json", BaselineTask).balanced is False
    with output_folder(baseline / "fitted/linear") as folder:
        run_baseline("linear", config.baselines["linear"], 0, config.serving, data=baseline / "data", folder=folder)
    with output_folder(artifacts / "score/linear") as folder:
        score_baseline("linear", read_task(artifacts / "prepare", config.metrics), artifacts=artifacts, folder=folder)
    with output_folder(artifacts / "compare") as folder:
        compare_and_report(config, artifacts, folder)

    bundle = make_bundle("linear", config, artifacts, tmp_path / "bundles")
    assert (bundle.record.kind, bundle.record.prompt_name) == ("neither", "")
    assert bundle.record.baseline == config.baselines["linear"].model
    predictor = BundlePredictor(bundle, tmp_path / "no base model is needed")
    examples = read_jsonl(artifacts / "prepare/test.jsonl", Example)
    before = {row.id: row for row in read_jsonl(artifacts / "score/linear/predictions.jsonl", Prediction)}
    found = predictor.answer(examples)
    assert [row.answer for row in found] == [before[example.id].answer for example in examples]
    assert sum(row.score for row in found) > 50
    measured = predictor.measure(examples, 3, config.pricing)
    assert measured["latency_p95"] < 5.0
    assert predictor.answer([]) == []
    # As a champion it has no adapter that a challenger could start from.
    promote(tmp_path, bundle, 1, datetime.now(UTC), "a test")
    warm = settings("curve=none", "baseline=[linear]", f"retrain.folder={tmp_path}", "retrain.warm_start=true")
    assert with_warm_start("the text", warm) == ("the text", warm)
