"""A checkpoint is tuned, and an arm answers, in the precision that `auto` stands for; each record names it."""

from dataclasses import replace
from pathlib import Path

import pytest
from arms import run_arm
from references import model_config
from tiny_tuner import tuner
from tuning import make_checkpoint

from whether.config import PromptConfig, RobustnessConfig, ServingConfig
from whether.model import precision
from whether.records import CheckpointRecord, Example, read_json, read_precision, write_jsonl

LORA = {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 8}


@pytest.mark.heavy
@pytest.mark.parametrize("native", ["bfloat16", "float32"])
def test_records_name_what_auto_stood_for(
    native: str, tmp_path: Path, artifacts: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "native_dtype", {"cpu": native}.get)
    write_jsonl(artifacts / "prepare" / "test.jsonl", examples[:4])
    model = model_config("auto")
    tuned = artifacts / "finetune" / "lora"
    tuned.mkdir(parents=True)
    make_checkpoint("lora", tuner(epochs=1, adapter=LORA), model, 0, artifacts=artifacts, folder=tuned)
    assert read_json(tuned / "checkpoint" / "checkpoint.json", CheckpointRecord).dtype == native
    prompt = PromptConfig(strategy={"_target_": "whether.prompt.strategies.zero_shot"}, engineered=False)
    run_arm(
        "lora", prompt, model, ServingConfig(requests=2, warmup=0), 0, name="lora-zero_shot", artifacts=artifacts,
        folder=tmp_path / "score", robustness=RobustnessConfig(examples=2, samples=None, formats=["labels_upper"]),
    )  # fmt: skip
    assert read_precision(artifacts / "generate" / "lora-zero_shot") == native
    assert read_precision(artifacts / "robustness" / "lora-zero_shot") == native
    assert read_json(tmp_path / "score" / "metrics.json")["dtype"] == native
    assert replace(model, dtype=native) == precision.with_native_precision(model)
