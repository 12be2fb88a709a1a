from collections.abc import Callable
from pathlib import Path

import pytest

from whether.records import Example, Task, write_json, write_jsonl


@pytest.fixture
def make_artifacts(tmp_path: Path) -> Callable[[Path, Task, list[Example]], Path]:
    """Return a function that lays out artifacts/ as the stages before the arms leave it."""

    def make(model: Path, task: Task, examples: list[Example]) -> Path:
        artifacts = tmp_path / "artifacts"
        (artifacts / "finetune").mkdir(parents=True)
        (artifacts / "model").symlink_to(model)
        write_json(artifacts / "finetune" / "base" / "checkpoint.json", {"kind": "base"})
        write_json(artifacts / "prepare" / "task.json", task)
        third = len(examples) // 3
        for number, split in enumerate(("train", "dev", "test")):
            part = examples[number * third : (number + 1) * third]
            write_jsonl(artifacts / "prepare" / f"{split}.jsonl", part)
        return artifacts

    return make
