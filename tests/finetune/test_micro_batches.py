"""Micro-batches: the same step whatever their size, and smaller ones when memory runs out."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_finetune import same_result, timeless_history, tune
from tiny_tuner import tuner
from tuning import training_data

from whether.config import ModelConfig
from whether.errors import ConfigError, EngineError
from whether.finetune.data import TrainingRow
from whether.finetune.finetune import classes_to_balance
from whether.finetune.micro_batches import MicroBatches, rng_snapshot
from whether.records import read_json, read_jsonl, write_json

PLAIN = {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 8}
ROWS = [TrainingRow([1, 2, number], [number]) for number in range(10)]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logging.getLogger("whether").propagate = True
    yield caplog
    logging.getLogger("whether").propagate = False


@pytest.mark.heavy
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_step_is_the_same_up_to_rounding_whatever_the_micro_batch(
    size: int, tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    """22 rows in steps of 4: also the last, incomplete step of each epoch."""
    gentle = tuner(adapter=PLAIN, learning_rate=2e-3)
    whole = tune(tmp_path / "whole", artifacts, model_config, gentle)
    small = tune(
        tmp_path / "small", artifacts, model_config, tuner(adapter=PLAIN, learning_rate=2e-3, micro_batch_size=size)
    )
    assert read_json(small / "checkpoint" / "checkpoint.json")["micro_batch_size"] == min(size, 4)
    for one, other in zip(timeless_history(whole), timeless_history(small), strict=True):
        for key in one.keys() - {"computed_tokens", "flops", "micro_batch_size"}:
            assert other[key] == pytest.approx(one[key], rel=1e-5), (key, one)


def failing_above(limit: int, done: list[int]) -> Callable[[Sequence[TrainingRow]], int]:
    def work(part: Sequence[TrainingRow]) -> int:
        if len(part) > limit:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        done.extend(row.answer[0] for row in part)
        return len(part)

    return work


def test_the_size_is_halved_until_it_fits_and_stays(log: pytest.LogCaptureFixture) -> None:
    batches, done = MicroBatches(100, "training"), list[int]()
    assert batches.run(ROWS, failing_above(3, done), done.clear) == [2, 2, 2, 2, 2]
    assert done == list(range(10))
    assert batches.size == 2
    assert [record.args for record in log.records] == [("training", 5), ("training", 2)]


def test_what_was_done_before_memory_ran_out_is_taken_back() -> None:
    batches, done = MicroBatches(4, "training"), list[int]()
    failures = iter([False, True])

    def work(part: Sequence[TrainingRow]) -> None:
        if next(failures, False):
            raise MemoryError
        done.extend(row.answer[0] for row in part)

    batches.run(ROWS, work, done.clear)
    assert done == list(range(10))


def test_one_example_that_is_too_much_is_an_error_with_a_remedy() -> None:
    with pytest.raises(EngineError, match=r"training on a single example takes more .* lower tuner\.max_length"):
        MicroBatches(8, "training").run(ROWS, failing_above(0, []), lambda: None)


def test_other_errors_pass() -> None:
    def work(part: Sequence[TrainingRow]) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        MicroBatches(8, "training").run(ROWS, work, lambda: None)


def test_random_numbers_are_drawn_again() -> None:
    import torch

    restore = rng_snapshot(torch.device("cpu"))
    first = torch.rand(3)
    restore()
    assert torch.equal(torch.rand(3), first)


@pytest.mark.heavy
def test_two_threads_give_the_same_bytes_each_time(tmp_path: Path, artifacts: Path, model_config: ModelConfig) -> None:
    two_threads = replace(model_config, threads=2)
    settings = tuner(micro_batch_size=3)
    same_result(*(tune(tmp_path / name, artifacts, two_threads, settings) for name in ("one", "other")))


@pytest.mark.heavy
def test_balanced_training_is_repeatable_and_needs_labels(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    settings = tuner(balanced=True)
    assert classes_to_balance(tuner(balanced="auto"), training_data(artifacts)) is None  # its labels are equal enough
    one, other = (tune(tmp_path / name, artifacts, model_config, settings) for name in ("one", "other"))
    same_result(one, other)
    assert read_json(one / "metrics.json")["examples"] == 66
    losses = [line["loss"] for line in read_jsonl(one / "history.jsonl") if "loss" in line]
    assert losses[-1] < losses[0] / 2
    task: dict[str, Any] = read_json(artifacts / "prepare" / "task.json")
    write_json(artifacts / "prepare" / "task.json", task | {"output": "text", "labels": []})
    with pytest.raises(ConfigError, match=r"tuner\.balanced.*task tickets has output: text .*tuner\.balanced=false"):
        tune(tmp_path / "text", artifacts, model_config, settings)
