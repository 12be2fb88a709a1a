"""A working folder with the tiny model, training and dev rows, and no test rows: a search must not miss them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_tuner import tuner
from tuning import training_data

from whether.config import CONF, CheckpointConfig, Config, SearchConfig, check, compose
from whether.records import Example, Task, write_json, write_jsonl

ROOT = Path(__file__).parents[2]


@pytest.fixture
def artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able_model: Path, label_task: Task, examples: Sequence[Example]
) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artifacts"
    write_json(folder / "prepare" / "task.json", label_task)
    write_jsonl(folder / "prepare" / "train.jsonl", examples[:22])
    write_jsonl(folder / "prepare" / "dev.jsonl", examples[22:])
    (folder / "model").symlink_to(able_model)
    training_data(folder)
    return folder


@pytest.fixture(scope="session")
def composed() -> Config:
    overrides = [
        "task=tickets",
        "model=local",
        "model.name=tiny",
        "model.device=cpu",
        "model.dtype=float32",
        "model.threads=1",
    ]
    return check(yaml.safe_load(compose(overrides, ROOT / CONF)))


Settings = Callable[..., Config]


@pytest.fixture
def settings(composed: Config) -> Settings:
    """Make settings: the tiny tuner changed by `tuner`, and a search."""

    def make(space: dict[str, Any], *, tuned: dict[str, Any] | None = None, **search: Any) -> Config:
        checkpoints = {**composed.checkpoints, "lora": CheckpointConfig(tuner(**(tuned or {})))}
        return replace(composed, checkpoints=checkpoints, search=SearchConfig(space, **search))

    return make
