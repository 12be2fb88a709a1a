"""A retraining run is in the champion's precision."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.retrain.conftest import bundle
from whether.config import CONF, Config, check, compose
from whether.records import Champion, write_json, write_jsonl
from whether.retrain.precision import with_champion_precision

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(config: Config, tmp_path: Path) -> tuple[str, Config]:
    """Settings of a retraining run whose folder is empty so far."""
    text = compose([f"retrain.folder={tmp_path}"], conf=ROOT / CONF)
    return text, check(yaml.safe_load(text))


def crown(config: Config, dtype: str, **changed: Any) -> None:
    """Write a champion that was measured in a precision."""
    folder = Path(config.retrain.folder)
    model = asdict(replace(config.model, dtype=dtype))
    record = bundle(config, model_settings=model, prompt=asdict(config.prompts["zero_shot"]), **changed)
    write_json(folder / "bundles" / record.id / "bundle.json", record)
    write_json(folder / "bundles" / record.id / "task.json", task(config))
    write_jsonl(folder / "bundles" / record.id / "train.jsonl", [])
    write_json(folder / "champion.json", Champion(record.id, None, "2026-02-01T02:00:00+00:00", 1, ""))


def task(config: Config) -> dict[str, Any]:
    return {
        "name": config.task.name, "output": "label", "metric": "accuracy", "instruction": "", "input_template": "",
        "labels": ["a", "b"], "schema": None, "answer_pattern": None, "max_new_tokens": 4,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_challengers_are_made_in_the_precision_of_the_champion(dtype: str, settings: tuple[str, Config]) -> None:
    assert settings[1].model.dtype == "auto"
    crown(settings[1], dtype)
    text, config = with_champion_precision(*settings)
    assert config.model.dtype == dtype
    assert check(yaml.safe_load(text)) == config


def test_without_a_champion_of_this_model_nothing_changes(settings: tuple[str, Config]) -> None:
    assert with_champion_precision(*settings) == settings
    crown(settings[1], "float32", model="another")
    assert with_champion_precision(*settings) == settings


def test_a_precision_that_is_named_stays(settings: tuple[str, Config]) -> None:
    text, config = settings
    named = replace(config, model=replace(config.model, dtype="bfloat16"))
    crown(config, "float32")
    assert with_champion_precision(text, named) == (text, named)
