"""A folder laid out like artifacts/ with the tiny model, 18 training rows, six of dev and six of test."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import references

from whether.config import CurveConfig, ModelConfig, PromptConfig, TunerConfig
from whether.records import Example, Task, write_json, write_jsonl

STRATEGIES = "whether.prompt.strategies"


@pytest.fixture
def artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path, label_task: Task, examples: Sequence[Example]
) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artifacts"
    write_json(folder / "prepare" / "task.json", label_task)
    for split, part in (("train", examples[:18]), ("dev", examples[18:24]), ("test", examples[24:])):
        write_jsonl(folder / "prepare" / f"{split}.jsonl", part)
    (folder / "model").symlink_to(tiny_model)
    return folder


@pytest.fixture
def model_config() -> ModelConfig:
    return references.model_config()


@pytest.fixture
def curve() -> CurveConfig:
    """Two prompts; one of them needs four labels."""
    adapter = {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 8}
    tuner = TunerConfig(
        adapter=adapter, learning_rate=2e-2, epochs=2, batch_size=4, warmup_ratio=0.1, weight_decay=0.0,
        max_grad_norm=1.0, evaluations_per_epoch=1, patience=3, max_length=128,
    )  # fmt: skip
    prompts: dict[str, PromptConfig | None] = {
        "few_shot": PromptConfig(strategy={"_target_": f"{STRATEGIES}.few_shot", "examples": 4}),
        "knn": PromptConfig(strategy={"_target_": f"{STRATEGIES}.knn", "examples": 2}),
    }
    return CurveConfig(
        labels=[3, 6], seeds=[0, 1], checkpoint="lora", tuner=tuner, prompts=prompts, min_steps=5, dev=4, test=5
    )
