"""The stages `training_set` and `finetune` on a folder laid out like artifacts/, one after the other."""

from pathlib import Path
from typing import NamedTuple

from whether.config import ModelConfig, TunerConfig
from whether.finetune.finetune import TrainingData, finetune, read_data
from whether.prompt.training import write_training_set
from whether.records import Example, Task, read_json, read_jsonl


class Prepared(NamedTuple):
    """What prepare left."""

    task: Task
    train: list[Example]
    dev: list[Example]


def read_prepared(artifacts: Path) -> Prepared:
    """Read artifacts/prepare."""
    folder = artifacts / "prepare"
    splits = (read_jsonl(folder / f"{split}.jsonl", Example) for split in ("train", "dev"))
    return Prepared(read_json(folder / "task.json", Task), *splits)


def training_data(artifacts: Path, name: str = "lora", tuner: TunerConfig | None = None) -> TrainingData:
    """Return what a checkpoint is tuned on, made from artifacts/prepare."""
    from tiny_tuner import tuner as some_tuner

    folder = artifacts / "training_set" / name
    write_training_set(name, tuner or some_tuner(), 0, prepared=artifacts / "prepare", folder=folder)
    return read_data(folder)


def make_checkpoint(
    name: str, tuner: TunerConfig | None, model: ModelConfig, seed: int, *, artifacts: Path, folder: Path | None
) -> None:
    """Tune on what artifacts/prepare holds now."""
    training_set = artifacts / "training_set" / name
    write_training_set(name, tuner, seed, prepared=artifacts / "prepare", folder=training_set)
    finetune(
        name,
        tuner,
        model,
        seed,
        model_folder=artifacts / "model",
        training_set=training_set,
        folder=folder,
        max_failed=0.02,
    )
