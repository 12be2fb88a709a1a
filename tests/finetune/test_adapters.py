from pathlib import Path
from typing import Any

import pytest

from whether.config import arguments, build
from whether.errors import ConfigError
from whether.records import Task

LORA = {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 8}
VERA = {"_target_": "whether.finetune.adapters.vera", "r": 4}
IA3 = {"_target_": "whether.finetune.adapters.ia3", "feedforward_modules": []}


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


KNOWN = "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
"""The linear layers of the tiny model."""


@pytest.mark.parametrize("tuner", [LORA, VERA, IA3], ids=["lora", "vera", "ia3"])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["c_attn"], rf": the model has no layer 'c_attn'; known: {KNOWN}"),
        (["q_proj", "v_prj"], rf": the model has no layer 'v_prj'; did you mean 'v_proj' or .*\? Known: {KNOWN}"),
        (["mlp"], rf": the model has no layer 'mlp'.*nown: {KNOWN}"),
        (["norm"], rf": \['norm'\] does not fit the model, whose linear layers are {KNOWN}: "),
        ([], rf" is an empty list, so nothing would be trained.*nown: {KNOWN}"),
    ],
)
def test_layers_that_the_model_lacks_are_named_with_those_that_it_has(
    model: Any, label_task: Task, tuner: dict[str, Any], names: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^tuner\.adapter\.target_modules{message}") as caught:
        build(tuner | {"target_modules": names}, model, label_task)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tuner", [LORA, VERA], ids=["lora", "vera"])
@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("all-linaer", r"the whole name of no layer, such as \S+, fits the regular expression 'all-linaer'; write names"
                       r" as a list; did you mean 'all-linear'\?"),
        ("q_proj", r"fits the regular expression 'q_proj'; write names as a list; did you mean 'q_proj'"),
        ("([", r"'\(\[' is not a regular expression"),
    ],
)  # fmt: skip
def test_a_pattern_that_fits_no_layer_is_named(
    model: Any, label_task: Task, tuner: dict[str, Any], pattern: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"tuner\.adapter\.target_modules: .*{message}"):
        build(tuner | {"target_modules": pattern}, model, label_task)


def test_a_pattern_of_whole_names_and_a_layer_that_is_not_linear_are_taken(model: Any, label_task: Task) -> None:
    adapted = build(LORA | {"target_modules": r".*\.0\..*q_proj"}, model, label_task)
    assert {name.rpartition(".lora_")[0] for name, weight in adapted.named_parameters() if weight.requires_grad} == {
        "base_model.model.model.layers.0.self_attn.q_proj"
    }


def test_feed_forward_layers_are_among_the_layers(model: Any, label_task: Task) -> None:
    settings = IA3 | {"target_modules": ["k_proj"], "feedforward_modules": ["down_proj"]}
    with pytest.raises(ConfigError, match=r"feedforward_modules: down_proj must be among target_modules, which are"):
        build(settings, model, label_task)
