"""A point of the curve on the tiny model, by the stages that make it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from whether.compare.curve_points import load_points, means
from whether.config import BASE, CurveConfig, ModelConfig
from whether.finetune.finetune import finetune
from whether.finetune.results import write_base
from whether.generate.generate import generate_point
from whether.generate.load import LoadedCheckpoint, load_checkpoint
from whether.prompt.curve import epoch_repeats, label_order, write_curve_data
from whether.records import (
    CHECKPOINT,
    STATE,
    CheckpointMetrics,
    CurvePoint,
    Example,
    Generations,
    Request,
    Task,
    TrainingExample,
    output_folder,
    read_json,
    read_jsonl,
)


def write(curve: CurveConfig, artifacts: Path) -> Path:
    """Run `curve_data`."""
    with output_folder(artifacts / "curve" / "data") as folder:
        write_curve_data(curve, prepared=artifacts / "prepare", folder=folder)
    return artifacts / "curve" / "data"


def measure(point: str, curve: CurveConfig, model: ModelConfig, artifacts: Path) -> Path:
    """Run `curve_tune` and `curve_generate`, as pipelines/ does."""
    data, made = artifacts / "curve" / "data" / point, artifacts / "curve" / "checkpoint" / point
    with output_folder(made) as folder:
        if (data / "training_set" / "train.jsonl").exists():
            finetune(
                f"curve@{point}", curve.tuner, model, 0, model_folder=artifacts / "model",
                training_set=data / "training_set", folder=folder, max_failed=0.0,
            )  # fmt: skip
        else:
            write_base("base", model.name, 0, folder)

    def load(tuned: bool) -> LoadedCheckpoint:
        return load_checkpoint(BASE, artifacts / "model", made / CHECKPOINT if tuned else None, model, None)

    with output_folder(artifacts / "curve" / "generate" / point) as folder:
        generate_point(data / "requests", load=load, folder=folder, max_failed=0.0)
    return artifacts / "curve" / "generate" / point


def order_of(artifacts: Path, seed: int) -> list[Example]:
    prepared = artifacts / "prepare"
    return label_order(read_json(prepared / "task.json", Task), read_jsonl(prepared / "train.jsonl", Example), seed)


def shown(requests: Sequence[Request], examples: Sequence[Example]) -> set[str]:
    """Ids of the training examples that requests show."""
    texts = {example.inputs["text"]: example.id for example in examples}
    return {texts[one.content] for request in requests for one in request.messages[:-1] if one.content in texts}


@pytest.mark.heavy
def test_a_point_is_tuned_and_prompted_with_its_labels_and_no_others(
    artifacts: Path, curve: CurveConfig, model_config: ModelConfig
) -> None:
    data = write(curve, artifacts) / "6-0"
    order = order_of(artifacts, 0)
    trained = read_jsonl(data / "training_set" / "train.jsonl", TrainingExample)
    assert [row.id for row in trained] == [example.id for example in order[:6]] * 2
    point = read_json(data / "point.json", CurvePoint)
    assert (point.labels, point.seed, point.checkpoint, point.dev_labels, point.repeats) == (6, 0, "lora", 4, 2)
    arms = [point.tuned, *point.prompts]
    assert arms == ["lora-zero_shot", "base-few_shot", "base-knn"]
    everything = read_jsonl(artifacts / "prepare" / "train.jsonl", Example)
    for arm in point.prompts:
        found = shown(read_jsonl(data / "requests" / f"{arm}.jsonl", Request), everything)
        assert found
        assert found <= {example.id for example in order[:6]}
    folder = measure("6-0", curve, model_config, artifacts)
    training = read_json(artifacts / "curve" / "checkpoint" / "6-0" / "metrics.json", CheckpointMetrics)
    assert training.steps == 6
    assert training.train_seconds_with_evaluation > 0
    for arm in arms:
        answers = read_jsonl(folder / f"{arm}.jsonl", Generations)
        assert [one.split for one in answers] == ["dev"] * 4 + ["test"] * 5
    points = load_points(replace(curve, labels=[6], seeds=[0]), artifacts)
    test = [row.score for row in points[6, 0].arms["base-knn"].test.values()]
    assert means(points)["6-0"]["test"]["base-knn"] == pytest.approx(sum(test) / 5)
    assert not list(STATE.glob("finetune/*"))


def test_points_answer_the_same_examples_and_seeds_differ(artifacts: Path, curve: CurveConfig) -> None:
    data = write(replace(curve, labels=[4, 6]), artifacts)
    asked = {
        point: read_jsonl(data / point / "requests" / "base-knn.jsonl", Request) for point in ("6-0", "4-0", "6-1")
    }
    assert len({tuple((one.split, one.id) for one in requests) for requests in asked.values()}) == 1
    everything = read_jsonl(artifacts / "prepare" / "train.jsonl", Example)
    trained = {
        point: {row.id for row in read_jsonl(data / point / "training_set" / "train.jsonl", TrainingExample)}
        for point in asked
    }
    assert trained["4-0"] < trained["6-0"]
    assert trained["6-0"] != trained["6-1"]
    assert shown(asked["4-0"], everything) <= trained["4-0"]


def test_another_number_of_labels_changes_no_point_that_is_there(artifacts: Path, curve: CurveConfig) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    before = files(write(curve, artifacts))
    after = files(write(replace(curve, labels=[3, 5, 6]), artifacts))
    assert before.items() < after.items()


def test_a_prompt_that_wants_more_labels_shows_those_that_there_are(artifacts: Path, curve: CurveConfig) -> None:
    folder = write(replace(curve, min_steps=1), artifacts) / "3-0"
    point = read_json(folder / "point.json", CurvePoint)
    assert (point.prompts, point.not_measured) == (["base-few_shot", "base-knn"], {})
    asked = read_jsonl(folder / "requests" / "base-few_shot.jsonl", Request)
    assert {sum(message.role == "assistant" for message in one.messages) for one in asked} == {3}


def test_a_prompt_that_is_not_selected_is_named(artifacts: Path, curve: CurveConfig) -> None:
    prompts = {**curve.prompts, "few_shot": None}
    point = read_json(write(replace(curve, prompts=prompts), artifacts) / "6-0" / "point.json", CurvePoint)
    assert point.not_measured == {"base-few_shot": "the run does not select the prompt few_shot"}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("labels", "change", "reason"),
    [
        (19, {}, "the training split holds 18 examples"),
        (6, {"tuner": None}, "the run does not select the checkpoint lora"),
    ],
)
def test_what_cannot_be_measured_says_why(
    labels: int, change: dict[str, Any], reason: str, *, artifacts: Path, curve: CurveConfig, model_config: ModelConfig
) -> None:
    changed = replace(curve, labels=[labels], **change)
    point = read_json(write(changed, artifacts) / f"{labels}-0" / "point.json", CurvePoint)
    assert (point.tuned, point.not_measured) == (None, {"all": reason})
    assert [file.name for file in measure(f"{labels}-0", changed, model_config, artifacts).iterdir()] == ["arms.json"]
    assert load_points(replace(changed, seeds=[0]), artifacts)[labels, 0].reason == reason


@pytest.mark.parametrize(
    ("labels", "min_steps", "repeats"), [(20, 16, 3), (20, 32, 6), (50, 16, 1), (120, 16, 1), (1, 16, 49), (16, 5, 2)]
)
def test_few_examples_are_shown_until_there_are_steps_enough(
    labels: int, min_steps: int, repeats: int, curve: CurveConfig
) -> None:
    assert curve.tuner is not None
    tuner = replace(curve.tuner, epochs=4, batch_size=16)
    assert epoch_repeats(labels, tuner, min_steps) == repeats
    assert tuner.epochs * -(-labels * repeats // tuner.batch_size) >= min_steps
    if repeats > 1:
        assert tuner.epochs * -(-labels * (repeats - 1) // tuner.batch_size) < min_steps
