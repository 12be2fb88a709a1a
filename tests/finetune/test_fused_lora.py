"""A fused layer gives peft's outputs and gradients."""

from pathlib import Path
from typing import Any

import pytest

IDS = [[5, 9, 12, 300, 7, 7, 2], [1, 2, 3, 4, 5, 6, 8]]


def adapted(folder: Path, dtype: Any, **settings: Any) -> Any:
    """Return the tiny model with a LoRA whose update is not zero, and biases on its linear layers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attention_bias=True)
    plain = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = get_peft_model(base, LoraConfig(**plain | settings))
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name or name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.1)
    return model


def gradients(model: Any) -> tuple[Any, Any]:
    """Return the loss, and the gradients of all that is trained in one row."""
    import torch

    model.zero_grad()
    ids = torch.tensor(IDS)
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    trained = [weight.grad.flatten() for weight in model.parameters() if weight.requires_grad]
    return loss.detach(), torch.cat(trained)


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"target_modules": ["q_proj", "down_proj"]}])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_it_gives_peft_s_loss_and_gradients(
    tiny_model: Path, settings: dict[str, Any], precision: str, tolerance: float
) -> None:
    import torch

    from whether.finetune.fused_lora import fuse

    model = adapted(tiny_model, getattr(torch, precision), **settings)
    loss, expected = gradients(model)
    layers = 3 * (2 if "target_modules" in settings else 7)
    assert fuse(model) == layers
    fused_loss, found = gradients(model)
    torch.testing.assert_close(fused_loss, loss, rtol=tolerance, atol=0)
    assert (found - expected).norm() <= tolerance * expected.norm()
    with model.disable_adapter():
        without = model(input_ids=torch.tensor(IDS)).logits
    assert not torch.equal(without, model(input_ids=torch.tensor(IDS)).logits)


@pytest.mark.parametrize(
    "settings", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True, "target_modules": ["q_proj"]}]
)
def test_other_layers_stay_peft_s(tiny_model: Path, settings: dict[str, Any]) -> None:
    import torch

    from whether.finetune.fused_lora import fuse

    assert fuse(adapted(tiny_model, torch.float32, **settings)) == 0


def test_a_fused_model_is_merged_and_saved_as_before(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from whether.finetune.fused_lora import fuse

    model = adapted(tiny_model, torch.float32)
    fuse(model)
    logits = model(input_ids=torch.tensor(IDS)).logits
    model.save_pretrained(tmp_path)
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, attention_bias=True)
    base.load_state_dict(model.unload().state_dict())
    loaded = PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(loaded(input_ids=torch.tensor(IDS)).logits, logits, rtol=1e-5, atol=1e-5)
    merged = loaded.merge_and_unload()
    torch.testing.assert_close(merged(input_ids=torch.tensor(IDS)).logits, logits, rtol=1e-4, atol=1e-4)
