"""Frozen layers with packed weights give the plain layers' losses, gradients and counts of operations."""

from pathlib import Path
from typing import Any

import pytest
from test_fused_lora import adapted, gradients

pytestmark = pytest.mark.heavy


@pytest.fixture(autouse=True)
def _packed_whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whether.finetune.frozen_layers.SMALLEST", 1)
    monkeypatch.setattr("whether.model.packed_layers.packed_share", lambda *_: 0.5)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "peft"])
@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"target_modules": ["q_proj", "down_proj"]}])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_losses_and_gradients_are_those_of_plain_layers(
    tiny_model: Path, settings: dict[str, Any], precision: str, tolerance: float, fused: bool
) -> None:
    import torch

    from whether.finetune.frozen_layers import FrozenLinear, pack_frozen_layers
    from whether.finetune.fused_lora import fuse

    model = adapted(tiny_model, getattr(torch, precision), **settings)
    loss, expected = gradients(model)
    packed = pack_frozen_layers(model)
    assert packed == 3 * 7 + 1, "all but the adapter's own, and the output head"
    assert sum(isinstance(module, FrozenLinear) for module in model.modules()) == packed
    if fused:
        fuse(model)
    packed_loss, found = gradients(model)
    torch.testing.assert_close(packed_loss, loss, rtol=tolerance, atol=0)
    assert (found - expected).norm() <= tolerance * expected.norm()


def test_operations_are_counted_alike(tiny_model: Path) -> None:
    import torch

    from whether.finetune.frozen_layers import pack_frozen_layers
    from whether.model.metering import counted_flops

    model = adapted(tiny_model, torch.float32)
    with counted_flops() as plain:
        gradients(model)
    assert pack_frozen_layers(model)
    with counted_flops() as packed:
        gradients(model)
    assert packed.get_total_flops() == plain.get_total_flops()


def test_what_is_trained_is_left_alone(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    from whether.finetune.frozen_layers import pack_frozen_layers

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert pack_frozen_layers(model) == 0
    model.requires_grad_(False)
    model.model.layers[0].mlp.requires_grad_(True)
    assert pack_frozen_layers(model) == 3 * 7 - 3 + 1


def test_without_the_memory_nothing_is_packed(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import torch

    from whether.finetune.frozen_layers import pack_frozen_layers

    model = adapted(tiny_model, torch.float32)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10_000))
    assert pack_frozen_layers(model) == 0
