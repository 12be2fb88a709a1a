"""The finetune stage: a checkpoint from the training split, or the record of the base model as it is."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from whether.config import ModelConfig, TunerConfig, build
from whether.engine.loading import load_base, pick_device
from whether.errors import EngineError
from whether.finetune import checkpoints, history, results
from whether.finetune.data import encode_rows
from whether.finetune.results import Trained
from whether.records import STATE, Example, Task, read_json, read_jsonl, sha256_folder, sha256_plain, to_plain, writing

logger = logging.getLogger(__name__)


def finetune(
    name: str, tuner: TunerConfig | None, model: ModelConfig, seed: int, *, artifacts: Path, folder: Path
) -> None:
    """Make checkpoint `name` from artifacts/model and artifacts/prepare into `folder`.

    A run that was killed goes on from its last whole checkpoint in .state/finetune/ and gives the same result. Raises
    DataError for examples longer than the tuner allows and EngineError if training diverges.
    """
    if tuner is None:
        results.write_base(name, model.name, seed, folder)
        return
    data = read_data(artifacts / "prepare")
    states = STATE / "finetune"
    state = states / f"{name}-{state_key(tuner, model, seed, data, artifacts / 'model')[:16]}"
    trained = train(tuner, model, seed, data, model_folder=artifacts / "model", state=state)
    results.write_tuned(name, tuner, model, seed, trained=trained, folder=folder)
    for finished in states.glob(f"{name}-*"):
        checkpoints.clear(finished)


class Data(NamedTuple):
    """What prepare left to tune on."""

    task: Task
    train: list[Example]
    dev: list[Example]


def read_data(folder: Path) -> Data:
    """Read artifacts/prepare."""
    task = read_json(folder / "task.json", Task)
    return Data(task, *(read_jsonl(folder / f"{split}.jsonl", Example) for split in ("train", "dev")))


def state_key(tuner: TunerConfig, model: ModelConfig, seed: int, data: Data, model_folder: Path) -> str:
    """Return a hash of all that determines the result: unfinished work is resumed only under the same key."""
    return sha256_plain(
        {
            "tuner": to_plain(tuner),
            "seed": seed,
            "dtype": model.dtype,
            "model": sha256_folder(model_folder),
            "task": to_plain(data.task),
            "train": [to_plain(example) for example in data.train],
            "dev": [to_plain(example) for example in data.dev],
            "code": sha256_folder(Path(__file__).parent, "*.py"),
        }
    )


def train(
    tuner: TunerConfig,
    model: ModelConfig,
    seed: int,
    data: Data,
    *,
    model_folder: Path,
    state: Path,
    callbacks: Sequence[Any] = (),
) -> Trained:
    """Train, or go on training from what `state` holds, until all steps are done or dev stops improving.

    `callbacks` are `TrainerCallback`s that may watch, or end training.
    """
    import torch
    from transformers import set_seed

    from whether.finetune.trainer import make_trainer

    set_threads(model.threads)
    device = pick_device(model.device)
    base, tokenizer = load_base(model_folder, getattr(torch, model.dtype))
    train_rows = encode_rows(tokenizer, data.task, data.train, tuner.max_length, "train")
    dev_rows = encode_rows(tokenizer, data.task, data.dev, tuner.max_length, "dev")
    set_seed(seed)
    adapted = build(tuner.adapter, base, where="tuner.adapter")
    trainer = make_trainer(adapted, tuner, train_rows, dev_rows, seed=seed, cpu=device == "cpu", output_dir=state)
    for callback in callbacks:
        trainer.add_callback(callback)
    end = run(trainer, state)
    return Trained(
        best=state / f"checkpoint-{end['best_global_step']}",
        best_step=end["best_global_step"],
        history=history.from_log(end["log_history"]),
        stopped_early=end["global_step"] < end["max_steps"],
        trainable_parameters=sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad),
        shared_prefix=trainer.data_collator.packed,
        train_rows=len(train_rows),
        dev_rows=len(dev_rows),
    )


def run(trainer: Any, state: Path) -> dict[str, Any]:
    """Train from the last whole checkpoint to the end, if that was not the end; return what Trainer knew there."""
    start = checkpoints.last(state)
    if start and checkpoints.stopped(checkpoints.state(start)):
        return checkpoints.state(start)
    if start:
        logger.info("going on from step %s of an unfinished run", start.name.rpartition("-")[2])
    with writing(state):
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    end = checkpoints.last(state)
    if end is None:
        raise EngineError(f"{state} was emptied while training went on: run again")
    return checkpoints.state(end)


def set_threads(threads: int | None) -> None:
    """Use so many CPU threads; None: one for each core that the process may use."""
    import torch

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
