"""A point of the curve on the tiny model, by the stages that pipelines/curve.py brings in."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.curve import tune
from whether.config import CurveConfig, ModelConfig
from whether.curve.point import epoch_repeats, measure_point
from whether.prompt.arm import run_arm
from whether.records import STATE, CurveAnswer, CurvePoint, Example, output_folder, read_json, read_jsonl


class Stages:
    """The real stages, and what they found in their folder; `killed_at` is the arm at which the process is killed."""

    def __init__(self, killed_at: str = ""):
        self.tuned: list[str] = []
        self.answered: list[str] = []
        self.seen: dict[str, list[str]] = {}
        self.killed_at = killed_at

    def tune(self, name: str, *arguments: Any, artifacts: Path, folder: Path) -> None:
        self.tuned.append(name)
        self.look(name, artifacts)
        tune(name, *arguments, artifacts=artifacts, folder=folder)

    def answer(self, *arguments: Any, name: str, artifacts: Path, folder: Path) -> None:
        if name == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.answered.append(name)
        self.look(name, artifacts)
        run_arm(*arguments, name=name, artifacts=artifacts, folder=folder)

    def look(self, name: str, artifacts: Path) -> None:
        self.seen[name] = [row.id for row in read_jsonl(artifacts / "prepare" / "train.jsonl", Example)]


def measure(
    labels: int, curve: CurveConfig, model: ModelConfig, artifacts: Path, stages: Stages, *, seed: int = 0
) -> Path:
    folder = artifacts / "curve" / f"{labels}-{seed}"
    with output_folder(folder) as temporary:
        measure_point(
            labels, curve, model, seed, tune=stages.tune, answer=stages.answer, artifacts=artifacts, folder=temporary
        )
    return folder


def killed(killed_at: str, curve: CurveConfig, model: ModelConfig, artifacts: Path) -> None:
    """Begin a point in a process of its own that is killed when it comes to an arm."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whether.finetune.trainer", "whether.engine.local", "peft", "matplotlib.figure"])
    process = context.Process(target=measure, args=(6, curve, model, artifacts, Stages(killed_at)))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.heavy
def test_a_point_is_tuned_and_prompted_with_its_labels_and_no_others(
    artifacts: Path, curve: CurveConfig, model_config: ModelConfig
) -> None:
    stages = Stages()
    folder = measure(6, curve, model_config, artifacts, stages)
    order = [row.id for row in read_jsonl(artifacts / "curve" / "order" / "0.jsonl", Example)]
    point = read_json(folder / "point.json", CurvePoint)
    assert stages.seen["curve@6-0"] == order[:6] * 2
    assert [stages.seen[arm] for arm in stages.answered] == [order[:6]] * 3
    assert stages.answered == [point.tuned, *point.prompts] == ["lora-zero_shot", "base-few_shot", "base-knn"]
    assert (point.labels, point.seed, point.checkpoint, point.dev_labels, point.repeats) == (6, 0, "lora", 4, 2)
    assert point.training is not None
    assert point.training.steps == 6
    assert point.training.train_seconds_with_evaluation > 0
    answers = read_jsonl(folder / "answers.jsonl", CurveAnswer)
    for arm in stages.answered:
        counts = {split: sum(row.arm == arm and row.split == split for row in answers) for split in ("dev", "test")}
        assert counts == {"dev": 4, "test": 5}
    test = [row.score for row in answers if row.arm == "base-knn" and row.split == "test"]
    assert read_json(folder / "metrics.json")["test"]["base-knn"] == pytest.approx(sum(test) / 5)
    assert not list(STATE.glob("curve/*"))
    assert not list(STATE.glob("finetune/*"))


@pytest.mark.heavy
def test_points_answer_the_same_examples_and_seeds_differ(
    artifacts: Path, curve: CurveConfig, model_config: ModelConfig
) -> None:
    stages = [Stages() for _ in range(3)]
    runs = ((6, 0), (4, 0), (6, 1))
    folders = [
        measure(labels, curve, model_config, artifacts, stage, seed=seed)
        for stage, (labels, seed) in zip(stages, runs, strict=True)
    ]
    answered = [
        [(row.split, row.id) for row in read_jsonl(folder / "answers.jsonl", CurveAnswer) if row.arm == "base-knn"]
        for folder in folders
    ]
    assert answered[0] == answered[1] == answered[2]
    larger, smaller, other = (set(stage.seen["base-knn"]) for stage in stages)
    assert smaller < larger
    assert larger != other


@pytest.mark.heavy
def test_a_killed_point_goes_on_and_ends_the_same(
    artifacts: Path, curve: CurveConfig, model_config: ModelConfig
) -> None:
    undisturbed = measure(6, curve, model_config, artifacts, Stages())
    expected = (undisturbed / "answers.jsonl").read_bytes()
    killed("base-knn", curve, model_config, artifacts)
    assert (undisturbed / "answers.jsonl").read_bytes() == expected, "the old result stays until there is a new one"
    again = Stages()
    folder = measure(6, curve, model_config, artifacts, again)
    assert (again.tuned, again.answered) == ([], ["base-knn"])
    assert (folder / "answers.jsonl").read_bytes() == expected
    assert not list(STATE.glob("curve/*"))


@pytest.mark.heavy
@pytest.mark.parametrize("change", [{"min_steps": 20}, {"dev": None}, {"test": 4}, {"prompts": {}}])
def test_unfinished_work_is_resumed_only_for_the_same_question(
    change: dict[str, Any], artifacts: Path, curve: CurveConfig, model_config: ModelConfig
) -> None:
    killed("lora-zero_shot", curve, model_config, artifacts)
    again = Stages()
    measure(6, replace(curve, **change), model_config, artifacts, again)
    assert again.tuned == ["curve@6-0", "base"]


@pytest.mark.heavy
def test_a_prompt_that_needs_more_labels_is_named(
    artifacts: Path, curve: CurveConfig, model_config: ModelConfig
) -> None:
    folder = measure(3, replace(curve, min_steps=1), model_config, artifacts, Stages())
    point = read_json(folder / "point.json", CurvePoint)
    assert point.prompts == ["base-knn"]
    assert "holds 3 examples and the prompt needs 4" in point.not_measured["base-few_shot"]


@pytest.mark.heavy
def test_a_prompt_that_is_not_selected_is_named(artifacts: Path, curve: CurveConfig, model_config: ModelConfig) -> None:
    prompts = {**curve.prompts, "few_shot": None}
    folder = measure(6, replace(curve, prompts=prompts), model_config, artifacts, Stages())
    point = read_json(folder / "point.json", CurvePoint)
    assert point.not_measured == {"base-few_shot": "the run does not select the prompt few_shot"}


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
    stages = Stages()
    folder = measure(labels, replace(curve, **change), model_config, artifacts, stages)
    point = read_json(folder / "point.json", CurvePoint)
    assert (point.tuned, point.not_measured) == (None, {"all": reason})
    assert read_jsonl(folder / "answers.jsonl") == []
    assert (stages.tuned, stages.answered) == ([], [])


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
