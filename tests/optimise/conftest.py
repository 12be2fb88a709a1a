"""A working folder with the tiny model, training and dev rows, and no test rows: a search must not miss them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from whether.config import CONF, Config, check, compose
from whether.records import Example, Task, write_json, write_jsonl

ROOT = Path(__file__).parents[2]
Settings = Callable[..., Config]


@pytest.fixture
def artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able_model: Path, label_task: Task, examples: Sequence[Example]
) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artifacts"
    write_json(folder / "prepare" / "task.json", replace(label_task, inputs=["text"]))
    write_jsonl(folder / "prepare" / "train.jsonl", examples[:12])
    write_jsonl(folder / "prepare" / "dev.jsonl", examples[12:])
    write_json(folder / "finetune" / "base" / "checkpoint" / "checkpoint.json", {"kind": "base"})
    (folder / "model").symlink_to(able_model)
    return folder


@pytest.fixture(scope="session")
def composed() -> Config:
    overrides = [
        "task=tickets", "model=local", "model.name=tiny", "model.device=cpu", "model.dtype=float32", "model.threads=1",
        "prompts.few_shot.strategy.examples=3", "prompts.knn.strategy.examples=2",
    ]  # fmt: skip
    return check(yaml.safe_load(compose(overrides, ROOT / CONF)))


@pytest.fixture
def settings(composed: Config) -> Settings:
    """Make settings of a small search, changed by keywords."""

    def make(**changes: Any) -> Config:
        small = {"examples": [0, 3], "nearest": [2], "candidates": 6, "first": 4, "draws": 2}
        return replace(composed, optimise=replace(composed.optimise, **small | changes))

    return make
