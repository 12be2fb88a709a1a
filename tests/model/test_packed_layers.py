"""Packed layers: the results of plain ones, plain ones again afterwards, and what does not fit is left alone."""

from pathlib import Path

import pytest
from references import model_config

pytestmark = pytest.mark.heavy

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@pytest.fixture(autouse=True)
def _always_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor makes of it."""
    monkeypatch.setattr("whether.model.packed_layers.packed_share", lambda *_: 0.5)


def make_model(family: str, dtype: str = "float32", **options):
    """Return a random model of a family, large enough to be packed."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    size = {"vocab_size": 300, "hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 128}
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **size, **heads, **options)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    for weight in model.parameters():  # norms and biases of their own, too
        torch.nn.init.normal_(weight, mean=float(weight.dim() == 1), std=0.06)
    return model.eval().requires_grad_(False)


def outputs(model):
    """Return logits without a cache, and of a further token after a cache."""
    import torch

    tokens = torch.arange(5, 35).view(2, 15)
    with torch.inference_mode():
        first = model(tokens, use_cache=True)
        second = model(tokens[:, :1], past_key_values=first.past_key_values)
        return torch.cat([model(tokens).logits.flatten(), first.logits.flatten(), second.logits.flatten()])


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_results_are_those_of_plain_layers(family: str, tied: bool) -> None:
    import torch

    from whether.model.packed_layers import Packs, pack_layers, unpack_layers

    model = make_model(family, tie_word_embeddings=tied)
    names = {name: type(module) for name, module in model.named_modules()}
    weights, expected = {name: weight.clone() for name, weight in model.state_dict().items()}, outputs(model)
    pack_layers(model, Packs())
    assert type(model.model.layers[0]).__name__.startswith("Fused")
    assert type(model.lm_head).__name__ == "PackedLinear"
    assert torch.allclose(outputs(model), expected, atol=2e-4)
    kept = [name for name, weight in model.named_parameters() if weight.dim() > 1 and weight.numel()]
    assert kept == ["model.embed_tokens.weight"], "plain weights are there beside the packed ones"
    unpack_layers(model)
    assert {name: type(module) for name, module in model.named_modules()} == names
    again = model.state_dict()
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())
    assert torch.equal(outputs(model), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_they_differ_by_rounding_alone(family: str) -> None:
    from whether.model.packed_layers import Packs, pack_layers

    exact, rounded = outputs(make_model(family)), outputs(make_model(family, "bfloat16")).float()
    model = make_model(family, "bfloat16")
    pack_layers(model, Packs())
    assert type(model.model.layers[0]).__name__.startswith("Fused")
    error = (outputs(model).float() - exact).pow(2).mean().sqrt()
    assert error < 1.2 * (rounded - exact).pow(2).mean().sqrt()


def test_other_layers_have_packed_products() -> None:
    import torch

    from whether.model.packed_layers import Packs, pack_layers

    model = make_model("llama", hidden_act="gelu")
    expected = outputs(model)
    pack_layers(model, Packs())
    assert type(model.model.layers[0]).__name__ == "LlamaDecoderLayer"
    assert type(model.model.layers[0].mlp.up_proj).__name__ == "PackedLinear"
    assert torch.allclose(outputs(model), expected, atol=2e-4)


def test_what_would_differ_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    import torch

    from whether.model import packed_layers

    model = make_model("llama")
    expected = outputs(model)
    monkeypatch.setattr(packed_layers, "_rotated", lambda states, cos, sin: states)  # noqa: ARG005
    packed_layers.pack_layers(model, packed_layers.Packs())
    assert "weights are used unpacked: packed, next-token probabilities differ by 0." in caplog.text
    assert torch.equal(outputs(model), expected)
    assert all(weight.numel() for weight in model.parameters())


def test_where_packing_is_slower_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    from whether.model import packed_layers

    monkeypatch.setattr(packed_layers, "packed_share", lambda *_: 1.3)
    model = make_model("llama")
    packed_layers.pack_layers(model, packed_layers.Packs())
    assert type(model.model.layers[0]).__name__ == "LlamaDecoderLayer"


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a size that is packed."""
    from transformers import AutoTokenizer

    path = tmp_path_factory.mktemp("packed")
    make_model("llama").save_pretrained(path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(path)
    return path


def test_a_checkpoint_on_a_packed_base(folder: Path, tmp_path: Path) -> None:
    import json

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from whether.engine.local import LocalModel

    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    settings = LoraConfig(r=4, target_modules=["o_proj"], init_lora_weights=False, layers_to_transform=[1])
    get_peft_model(base, settings).save_pretrained(tmp_path / "adapter")
    (tmp_path / "checkpoint.json").write_text(json.dumps({"kind": "adapter"}))
    local = LocalModel.load(folder, None, model_config())
    at_first = outputs(local.model)
    tuned, merged = local.with_checkpoint(tmp_path), LocalModel.load(folder, tmp_path, model_config())
    assert tuned.uses_tree
    assert torch.equal(outputs(tuned.model), outputs(merged.model)), "not what loading it by itself gives"
    assert not torch.allclose(outputs(tuned.model), at_first, atol=1e-2)
    assert torch.equal(outputs(local.model), at_first)
    one, other = local.model.model.layers, tuned.model.model.layers
    assert all(a is b for a, b in zip(one[0].packed, other[0].packed, strict=True))
    shared = [a is b for a, b in zip(one[1].packed, other[1].packed, strict=True)]
    assert shared == [True, False, True, True, True], "what the adapter leaves alone is there once"


def test_a_linear_probe_shares_packed_weights_with_its_base(folder: Path, tmp_path: Path) -> None:
    import json

    import torch
    from safetensors.torch import save_file

    from whether.engine.local import LocalModel

    torch.manual_seed(2)
    head = {"lm_head.weight": torch.randn(3, 256), "lm_head.bias": torch.zeros(3)}
    save_file(head, tmp_path / "weights.safetensors")
    (tmp_path / "checkpoint.json").write_text(json.dumps({"kind": "head", "labels": ["a", "b", "c"]}))
    probe = LocalModel.load(folder, tmp_path, model_config())
    layers = probe.model.model.layers, probe._classifier.model.layers
    assert all(
        a is b for one, other in zip(*layers, strict=True) for a, b in zip(one.packed, other.packed, strict=True)
    )
    assert type(probe._classifier.lm_head).__name__ == "LabelHead"


def test_weights_that_stand_where_others_stood_are_not_taken_for_them() -> None:
    """A merged adapter's weights may get the memory that the plain ones had."""
    import torch

    from whether.model.packed_layers import PackedWeight, Packs

    memory = bytearray(4 * 64 * 64)

    def layer() -> torch.nn.Linear:
        made = torch.nn.Linear(64, 64, bias=False)
        made.weight = torch.nn.Parameter(torch.frombuffer(memory, dtype=torch.float32).view(64, 64), False)
        return made

    packs, one, other = Packs(), layer(), layer()
    packs.add([one], PackedWeight.of([one]))
    assert one.weight.data_ptr() == other.weight.data_ptr()
    assert packs.get([one]) is not None
    assert packs.get([other]) is None
