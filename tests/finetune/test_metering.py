"""Operations are those that a formula gives; energy is what the counters say, or nothing."""

from pathlib import Path
from typing import Any

import pytest
from tuners import TASK

from whether.finetune.data import TrainingRow

ROWS = [TrainingRow([*range(10, 40), 50 + n], [60 + n, 2]) for n in range(6)]
PREDICTED = 12


def count(model: Any, rows: list[TrainingRow]) -> tuple[int, int]:
    """Return the operations of one step on a packed batch, and its length."""
    import torch

    from whether.finetune.losses import answer_scores
    from whether.finetune.packing import Collator
    from whether.model.metering import counted_flops

    batch = Collator(packed=True, mask_dtype=torch.float32)(rows)
    with counted_flops() as counter:
        answer_scores(model, batch)[0].sum().backward()
    return counter.get_total_flops(), batch["pieces"][0]["inputs"]["input_ids"].numel()


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model)


def attention(model: Any, length: int, products: int) -> int:
    """Return the operations of so many products of attention's square matrices in all layers."""
    config = model.config
    return products * 2 * config.num_hidden_layers * config.hidden_size * length**2


def linear(model: Any) -> dict[str, tuple[int, int]]:
    """Return inputs and outputs of each linear layer of the base model but the head."""
    import torch

    return {
        name: (layer.in_features, layer.out_features)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and name != "lm_head"
    }


def test_lora_has_a_forward_pass_and_gradients_of_activations_and_its_own(model: Any) -> None:
    from whether.finetune.adapters import lora
    from whether.finetune.fused_lora import fuse

    layers, head = linear(model), model.lm_head.weight.numel()
    adapted = lora(model, TASK, r=4, alpha=8)
    flops, length = count(adapted, ROWS)
    assert fuse(adapted) == len(layers)
    assert count(adapted, ROWS)[0] == flops
    expected = attention(model, length, 2 + 5) + 2 * 2 * head * PREDICTED
    for name, (inputs, outputs) in layers.items():
        first = any(part in name for part in ("layers.0.self_attn.q", "layers.0.self_attn.k", "layers.0.self_attn.v"))
        expected += 2 * length * inputs * outputs * (1 if first else 2)
        expected += 2 * length * 4 * (inputs * (2 if first else 3) + outputs * 3)
    assert flops == expected


def test_full_training_comes_near_six_operations_a_parameter_and_token(model: Any) -> None:
    head = model.lm_head.weight.numel()
    flops, length = count(model, ROWS)
    layers = sum(inputs * outputs for inputs, outputs in linear(model).values())
    assert flops == attention(model, length, 2 + 5) + 6 * layers * length + 6 * head * PREDICTED


def test_a_head_on_a_frozen_model_has_no_backward_pass_below_it(model: Any) -> None:
    layers, head = sum(inputs * outputs for inputs, outputs in linear(model).values()), model.lm_head.weight.numel()
    import torch

    model.requires_grad_(False)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    flops, length = count(model, ROWS)
    assert flops == attention(model, length, 2) + 2 * layers * length + 4 * head * PREDICTED


def test_attention_in_blocks_takes_fewer_operations_on_longer_batches(model: Any) -> None:
    import torch

    from whether.finetune.adapters import lora
    from whether.finetune.collators import make_collator
    from whether.finetune.losses import answer_scores
    from whether.model.metering import counted_flops

    rows = [TrainingRow([*range(10, 40), *[50 + n] * 20], [60 + n, 2]) for n in range(12)]
    adapted = lora(model, TASK, r=4, alpha=8)
    dense, _ = count(adapted, rows)
    batch = make_collator(adapted, rows)(rows)
    with counted_flops() as counter:
        torch.as_tensor(answer_scores(adapted, batch)[0].sum()).backward()
    assert counter.get_total_flops() < dense


def write_zone(folder: Path, name: str, energy: int) -> Path:
    folder.mkdir(parents=True)
    for file, text in (("name", name), ("energy_uj", str(energy)), ("max_energy_range_uj", "999999")):
        (folder / file).write_text(f"{text}\n")
    return folder / "energy_uj"


def test_energy_is_that_of_packages_and_memory_and_counters_may_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from whether.model import metering

    package = write_zone(tmp_path / "intel-rapl:0", "package-0", 900_000)
    memory = write_zone(tmp_path / "intel-rapl:0:1", "dram", 10)
    write_zone(tmp_path / "intel-rapl:0:0", "core", 5)
    monkeypatch.setattr(metering.rapl_counters, "__defaults__", (tmp_path,))
    meter = metering.EnergyMeter(torch.device("cpu"))
    assert meter.joules() is None
    meter.start()
    package.write_text("400000\n")
    memory.write_text("110010\n")
    assert meter.joules() == pytest.approx(0.5 + 0.11)


def test_energy_that_nobody_tells_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from whether.model import metering

    (write_zone(tmp_path / "intel-rapl:0", "package-0", 1)).unlink()
    monkeypatch.setattr(metering.rapl_counters, "__defaults__", (tmp_path,))
    for device in ("cpu", "mps"):
        meter = metering.EnergyMeter(torch.device(device))
        meter.start()
        assert meter.joules() is None
