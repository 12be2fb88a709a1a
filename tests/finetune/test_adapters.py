from pathlib import Path
from typing import Any

import pytest

from whether.config import arguments, build
from whether.errors import ConfigError
from whether.records import Task

LORA = {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 8}


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model)


def test_lora_trains_r_times_inputs_plus_outputs_of_each_linear_layer_but_the_head(
    model: Any, label_task: Task
) -> None:
    import torch

    linear = [
        layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear) and name != "lm_head"
    ]
    expected = sum(4 * (layer.in_features + layer.out_features) for layer in linear)
    adapted = build(LORA, model, label_task)
    assert sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad) == expected


@pytest.mark.parametrize(("setting", "value"), [("r", 0), ("alpha", 0), ("dropout", 1.0), ("target_modules", 3)])
def test_values_out_of_range_are_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"tuner\.{setting}: .* is {value}"):
        arguments(LORA | {setting: value}, "tuner")


def test_layers_that_the_model_lacks_are_named(model: Any, label_task: Task) -> None:
    with pytest.raises(ConfigError, match="target_modules: \\['c_attn'\\] does not fit the model"):
        build(LORA | {"target_modules": ["c_attn"]}, model, label_task)
