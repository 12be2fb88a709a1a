"""A folder laid out like artifacts/ with the tiny model and thirty examples."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from whether.config import ModelConfig
from whether.records import Example, Task, write_json, write_jsonl


@pytest.fixture
def artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able_model: Path, label_task: Task, examples: Sequence[Example]
) -> Path:
    """artifacts/ in an empty working folder: model, task, 22 training rows and 8 dev rows."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artifacts"
    write_json(folder / "prepare" / "task.json", label_task)
    write_jsonl(folder / "prepare" / "train.jsonl", examples[:22])
    write_jsonl(folder / "prepare" / "dev.jsonl", examples[22:])
    (folder / "model").symlink_to(able_model)
    return folder


@pytest.fixture
def unequal(artifacts: Path, examples: Sequence[Example]) -> Path:
    """Training rows of which 30 of 33 are `tech`, and 10 of 14 dev rows."""
    by_label = {label: [row for row in examples if row.target == label] for label in ("tech", "billing")}
    rows = [*by_label["tech"] * 3, *by_label["billing"][:3]]
    write_jsonl(artifacts / "prepare" / "train.jsonl", [replace(row, id=str(index)) for index, row in enumerate(rows)])
    write_jsonl(artifacts / "prepare" / "dev.jsonl", [*by_label["tech"], *by_label["billing"][3:7]])
    return artifacts


@pytest.fixture
def model_config() -> ModelConfig:
    """The tiny model on one thread: the same sums in the same order wherever the tests run."""
    source = {"_target_": "whether.sources.models.folder", "path": "unused"}
    return ModelConfig(name="tiny", source=source, licence="none", dtype="float32", device="cpu", threads=1)
