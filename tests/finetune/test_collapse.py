"""A training that ends with one label for nearly everything is tried once more, and the better one kept."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stage import said, start
from test_finetune import same_result, timeless_history, tune
from tiny_tuner import tuner
from tuners import TUNERS
from tuning import training_data

from whether.chat.messages import zero_shot_messages
from whether.config import ModelConfig, TunerConfig
from whether.engine.local import LocalModel
from whether.finetune import collapse
from whether.finetune.data import TrainingRow
from whether.finetune.dev_answers import answers_of_labels, greedy_labels
from whether.finetune.finetune import train
from whether.finetune.results import TrainingResult, write_tuned
from whether.records import (
    STATE,
    CheckpointRecord,
    Choice,
    Decoding,
    Example,
    Task,
    read_json,
    read_jsonl,
)
from whether.records.collapse import frequent_answer

WEIGHTS = "checkpoint/adapter/adapter_model.safetensors"


def collapsing(**changes: Any) -> TunerConfig:
    """Settings under which the first training collapses; the second does not, unless `changes` make it."""
    settings = {
        "learning_rate": 6e-2, "epochs": 1, "balanced": False, "evaluations_per_epoch": 1, "retry_collapsed": True,
    }  # fmt: skip
    return tuner(**(settings | changes))


def record_of(folder: Path) -> CheckpointRecord:
    return read_json(folder / "checkpoint" / "checkpoint.json", CheckpointRecord)


def test_a_collapsed_training_is_tried_again_and_the_better_one_kept(
    tmp_path: Path, unequal: Path, model_config: ModelConfig, label_task: Task
) -> None:
    settings = collapsing()
    folder = tune(tmp_path / "out", unequal, model_config, settings)
    record, metrics = record_of(folder), read_json(folder / "metrics.json")
    assert record.retry is not None
    first, retry = record.retry.first, record.retry.retry
    assert (first.learning_rate, first.balanced, first.answer, first.share) == (6e-2, False, "tech", 1.0)
    assert (retry.learning_rate, retry.balanced) == (pytest.approx(2e-2), True)
    assert (first.collapsed, retry.collapsed, record.retry.kept) == (True, False, "retry")
    assert first.class_f1 == pytest.approx((2 * 10 / (10 + 14) + 0) / 2)
    assert retry.class_f1 > first.class_f1
    assert record.tuner is not None
    assert record.tuner["learning_rate"] == 6e-2
    # What is said of the kept one is the second training's; the costs are both trainings'.
    steps = [line for line in read_jsonl(folder / "history.jsonl") if "loss" in line]
    assert max(step["learning_rate"] for step in steps) == pytest.approx(2e-2)
    assert (record.steps, len(steps), metrics["steps"], metrics["examples"]) == (9, 9, 18, 66)
    assert metrics["train_seconds"] > 1.2 * sum(step["seconds"] for step in steps)
    assert metrics["labels_used"] == 33
    assert not list(STATE.glob("finetune/*"))
    # The weights that are kept give the recorded answers.
    local = LocalModel.load(unequal / "model", folder / "checkpoint", model_config)
    given = constrained_answers(local, label_task, unequal, ("tech", "billing"))
    assert given.count(retry.answer) / len(given) == retry.share


def constrained_answers(local: LocalModel, task: Task, artifacts: Path, labels: tuple[str, ...]) -> list[str]:
    """What the engine answers to dev, constrained to the labels."""
    dev = read_jsonl(artifacts / "prepare" / "dev.jsonl", Example)
    chats = [zero_shot_messages(task, example) for example in dev]
    return [answer[0].text for answer in local.generate(chats, Decoding(12, constraint=Choice(labels)))]


def test_where_both_have_collapsed_the_first_is_kept(tmp_path: Path, unequal: Path, model_config: ModelConfig) -> None:
    settings = collapsing(learning_rate=0.2, epochs=3)
    with_retry = tune(tmp_path / "with", unequal, model_config, settings)
    without = tune(tmp_path / "without", unequal, model_config, replace(settings, retry_collapsed=False))
    tried, alone = record_of(with_retry), record_of(without)
    assert alone.retry is None
    assert tried.retry is not None
    assert (tried.retry.kept, tried.retry.first.collapsed, tried.retry.retry.collapsed) == ("first", True, True)
    assert (with_retry / WEIGHTS).read_bytes() == (without / WEIGHTS).read_bytes()
    assert timeless_history(with_retry) == timeless_history(without)
    assert [read_json(folder / "metrics.json")["steps"] for folder in (with_retry, without)] == [54, 27]


@pytest.mark.heavy
def test_killed_in_the_second_training_it_ends_the_same(
    tmp_path: Path, unequal: Path, model_config: ModelConfig
) -> None:
    """Killed as soon as it begins, and again once it has saved something."""
    settings = collapsing(epochs=6)
    undisturbed = tune(tmp_path / "undisturbed", unequal, model_config, settings)
    assert record_of(undisturbed).retry is not None
    for number, begun in enumerate(("finetune/lora-*-retry", "finetune/lora-*-retry/checkpoint-*/sealed")):
        process = start(tmp_path / "out", unequal, model_config, settings, tmp_path / f"{number}.log")
        while process.is_alive() and not list(STATE.glob(begun)):
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -9, said(tmp_path / f"{number}.log")
    start(tmp_path / "out", unequal, model_config, settings, tmp_path / "last.log").join()
    assert "going on from step" in said(tmp_path / "last.log")
    same_result(tmp_path / "out", undisturbed)
    assert not list(STATE.glob("finetune/*"))


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["lora", "linear_probe", "full", "prompt_tuning", "prefix_tuning"])
def test_dev_is_answered_as_the_engine_answers(
    name: str, tmp_path: Path, artifacts: Path, model_config: ModelConfig, label_task: Task
) -> None:
    rate = {"full": 1e-2, "linear_probe": 5e-2}.get(name, 2e-2)
    settings = tuner(adapter=TUNERS[name], learning_rate=rate, epochs=2)
    data = training_data(artifacts, name, settings)
    labels = ([str(row.label) for row in split] for split in (data.train, data.dev))
    trained = train(
        settings, model_config, 0, data, model_folder=artifacts / "model", state=tmp_path / "state",
        examine=partial(collapse.look, *labels),
    )  # fmt: skip
    (tmp_path / "out").mkdir()
    write_tuned(name, settings, model_config, 0, trained=trained, folder=tmp_path / "out")
    local = LocalModel.load(artifacts / "model", tmp_path / "out" / "checkpoint", model_config)
    assert trained.answers is not None
    assert trained.answers.given == constrained_answers(local, label_task, artifacts, tuple(label_task.labels))
    right = sum(a == b for a, b in zip(trained.answers.given, trained.answers.right, strict=True))
    assert right >= trained.best_evaluation.dev_exact * 8


@pytest.mark.parametrize("guess", ["a", "ab", "ac", "abd", "z"])
def test_greedy_labels_are_those_of_decoding_token_by_token(guess: str) -> None:
    answers = {"a": (1, 9), "ab": (1, 2, 9), "ac": (1, 3, 9), "abd": (1, 2, 4, 9), "z": (5, 9), "zz": (5, 5, 9)}
    prompts = [[number] for number in range(60)]

    def score(prompt: Sequence[int], written: tuple[int, ...], token: int) -> float:
        return random.Random(str((list(prompt), written, token))).random()

    def decoded(prompt: Sequence[int]) -> str:
        written: tuple[int, ...] = ()
        while written not in answers.values():
            allowed = {answer[len(written)] for answer in answers.values() if answer[: len(written)] == written}
            written += (max(allowed, key=lambda token: score(prompt, written, token)),)
        return next(label for label, answer in answers.items() if answer == written)

    passes = []

    def logits(rows: Sequence[TrainingRow], tokens: Sequence[int]) -> Any:
        import torch

        passes.append(len(rows))
        return [
            torch.tensor(
                [
                    [score(row.prompt, tuple(row.answer[:place]), token) for token in tokens]
                    for place in range(len(row.answer))
                ],
                dtype=torch.float64,
            )
            for row in rows
        ]

    given = greedy_labels(prompts, answers, guess, logits)
    assert given == [decoded(prompt) for prompt in prompts]
    assert len(set(given)) == 6
    assert passes[0] == 60 > sum(passes[1:]) / 2
    assert len(passes) <= 4


def test_a_label_with_several_answers_is_not_looked_for() -> None:
    rows = [TrainingRow([1], [5, 9]), TrainingRow([2], [6, 9]), TrainingRow([3], [5, 9])]
    assert answers_of_labels(rows, ["a", "b", "a"]) == {"a": (5, 9), "b": (6, 9)}
    assert answers_of_labels(rows, ["a", "a", "a"]) is None


def test_what_answers_more_than_one_label_could_be_right_for_is_not_looked_at() -> None:
    dev = ["often"] * 80 + ["seldom"] * 20

    def looked_at(exact: float) -> bool:
        trained: Any = SimpleNamespace(best_evaluation=SimpleNamespace(dev_exact=exact))
        try:
            return collapse.look_if_suspicious(dev, dev, None, trained) is not None
        except AttributeError:  # it looks for the trainer's rows
            return True

    assert [looked_at(exact) for exact in (0.0, 0.8, 0.85, 0.86, 1.0)] == [True, True, True, False, False]


def test_what_counts_as_collapsed() -> None:
    right = ["a"] * 90 + ["b"] * 10
    assert frequent_answer(["a"] * 100, right) == ("a", 1.0, True)
    assert frequent_answer(["a"] * 96 + ["b"] * 4, right) == ("a", 0.96, True)
    assert not frequent_answer(["a"] * 95 + ["b"] * 5, right).collapsed
    assert not frequent_answer(["a"] * 94 + ["b"] * 6, ["b"] * 100).collapsed
    assert not frequent_answer(["a"] * 100, ["a"] * 100).collapsed
    assert not frequent_answer([None] * 100, right).collapsed


def test_of_one_label_there_is_one_training(artifacts: Path) -> None:
    data = training_data(artifacts)
    same = [replace(row, label="tech") for row in data.train]
    asked: list[Any] = []

    def trains(settings: TunerConfig, state: Path, examine: Any) -> TrainingResult:
        asked.append(examine)
        return "trained"  # type: ignore[return-value]

    collapse.train_with_retry(trains, collapsing(), Path("state"), same, data.dev)
    collapse.train_with_retry(trains, collapsing(retry_collapsed=False), Path("state"), data.train, data.dev)
    collapse.train_with_retry(trains, collapsing(), Path("state"), [replace(row, label=None) for row in data.train], [])
    assert asked == [None, None, None]
