"""Loading: adapters are merged exactly, and every broken folder is one clear error that names it."""

import json
import shutil
from pathlib import Path

import pytest
from references import generate_greedily, model_config

from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.errors import EngineError
from whether.records import Decoding


def write_adapter(model_folder: Path, checkpoint: Path, **options) -> None:
    """Write a checkpoint folder with a random LoRA adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    settings = {"lora_alpha": 16, "target_modules": "all-linear", "init_lora_weights": False} | options
    config = LoraConfig(r=4, **settings)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32), config)
    tuned.save_pretrained(checkpoint / "adapter")
    (checkpoint / "checkpoint.json").write_text(json.dumps({"kind": "adapter", "more": 1}))


@pytest.mark.heavy
@pytest.mark.parametrize("use_dora", [False, True])
def test_adapter_is_merged(tiny_model, tmp_path, use_dora):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    write_adapter(tiny_model, tmp_path, use_dora=use_dora)
    local = LocalModel.load(tiny_model, tmp_path, model_config())
    base = LocalModel.load(tiny_model, None, model_config())
    unmerged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "adapter")
    with torch.inference_mode():
        expected = unmerged(torch.tensor([[5, 6, 7]])).logits[0, -1].log_softmax(-1)[8].item()
    request = ScoringRequest((5, 6, 7), (8,))
    assert local.loglikelihoods([request])[0].log_likelihood == pytest.approx(expected, abs=1e-4)
    assert base.loglikelihoods([request])[0].log_likelihood != pytest.approx(expected, abs=1e-2)
    assert type(local.model) is type(base.model), "the adapter's layers are still there"


def logits(local, tokens=(5, 6, 7, 8)):
    import torch

    with torch.inference_mode():
        return local.model(torch.tensor([tokens])).logits


@pytest.mark.heavy
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dora": True},
        {"modules_to_save": ["norm"]},
        {"trainable_token_indices": [5, 6]},
        {"target_modules": ["embed_tokens", "q_proj"]},
    ],
)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`:UserWarning")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning")
def test_checkpoints_of_one_loaded_base(tiny_model, tmp_path, options):
    import torch

    write_adapter(tiny_model, tmp_path / "one", **options)
    write_adapter(tiny_model, tmp_path / "other", lora_alpha=2)
    base = LocalModel.load(tiny_model, None, model_config())
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    at_first = logits(base)
    one, other = base.with_checkpoint(tmp_path / "one"), base.with_checkpoint(tmp_path / "other")
    for tuned, folder in [(one, "one"), (other, "other")]:
        merged = LocalModel.load(tiny_model, tmp_path / folder, model_config())
        assert torch.equal(logits(tuned), logits(merged)), "not what loading the checkpoint by itself gives"
        assert not torch.allclose(logits(tuned), at_first, atol=1e-2)
        assert tuned.uses_tree
    assert torch.equal(logits(base), at_first)
    assert all(torch.equal(weight, before[name]) for name, weight in base.model.state_dict().items())


def test_unmerged_adapter_gives_the_same(tiny_model, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    write_adapter(tiny_model, tmp_path)
    tuned = LocalModel.load(tiny_model, None, model_config()).with_checkpoint(tmp_path)
    unmerged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "adapter")
    with torch.inference_mode():
        assert torch.allclose(logits(tuned), unmerged(torch.tensor([[5, 6, 7, 8]])).logits, atol=1e-4)


def test_weights_that_an_adapter_leaves_alone_are_there_once(tiny_model, tmp_path):
    write_adapter(tiny_model, tmp_path, target_modules=["q_proj"])
    base = LocalModel.load(tiny_model, None, model_config())
    tuned = base.with_checkpoint(tmp_path)
    places = {name: weight.data_ptr() for name, weight in base.model.named_parameters()}
    moved = {name for name, weight in tuned.model.named_parameters() if weight.data_ptr() != places[name]}
    assert moved == {name for name in places if "q_proj" in name}
    assert type(tuned.model) is type(base.model)
    assert {name for name, _ in tuned.model.named_modules()} == {name for name, _ in base.model.named_modules()}


def test_adapters_whose_virtual_tokens_differ_from_task_to_task(tiny_model, tmp_path):
    import peft
    from transformers import AutoModelForCausalLM

    config = peft.MultitaskPromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, num_tasks=2)
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(tmp_path / "adapter")
    (tmp_path / "checkpoint.json").write_text('{"kind": "adapter"}')
    with pytest.raises(EngineError, match="adapters of the kind MULTITASK_PROMPT_TUNING cannot be run"):
        LocalModel.load(tiny_model, tmp_path, model_config())


def test_base_checkpoint(tiny_model, tmp_path, tiny):
    (tmp_path / "checkpoint.json").write_text('{"kind": "base"}')
    local = LocalModel.load(tiny_model, tmp_path, model_config())
    assert (
        generate_greedily(local, [[5, 6]], Decoding(4))[0][:4] == generate_greedily(tiny, [[5, 6]], Decoding(4))[0][:4]
    )


def test_what_a_loaded_model_tells(tiny):
    assert tiny.uses_tree
    assert tiny.context_window == 1024
    assert tiny.eos_token_ids == {tiny.tokenizer.eos_token_id}
    assert tiny.prefix_token_id == tiny.tokenizer.bos_token_id
    assert tiny.device.type == "cpu"


def test_bfloat16(tiny_model, tiny):
    local = LocalModel.load(tiny_model, None, model_config("bfloat16"))
    assert local.uses_tree
    requests = [ScoringRequest((5, 6, 7, token), (8, 9)) for token in range(10)]
    for rough, exact in zip(local.loglikelihoods(requests), tiny.loglikelihoods(requests), strict=True):
        assert rough.log_likelihood == pytest.approx(exact.log_likelihood, abs=0.3)


def test_settings_of_the_folder_do_not_change_greedy_answers(tiny_model, tmp_path, tiny, caplog):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    shipped = {"repetition_penalty": 5.0, "do_sample": True, "temperature": 2.0, "eos_token_id": [2, 9]}
    (folder / "generation_config.json").write_text(json.dumps(shipped))
    with caplog.at_level("INFO", logger="whether"):
        local = LocalModel.load(folder, None, model_config())
    assert local.eos_token_ids == {2, 9}
    expected = generate_greedily(tiny, [[5, 6]], Decoding(8))[0].token_ids
    answer = generate_greedily(local, [[5, 6]], Decoding(8))[0].token_ids
    assert answer == expected[: len(answer)]
    assert len(answer) == 8 or expected[len(answer)] == 9


def test_missing_folder(tmp_path):
    with pytest.raises(EngineError, match=r"nowhere is not a model folder.*dvc repro model"):
        LocalModel.load(tmp_path / "nowhere", None, model_config())


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "tokenizer.json"])
def test_broken_file(tiny_model, tmp_path, broken):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / broken).write_bytes(b"not this")
    with pytest.raises(EngineError, match=f"{folder} cannot be loaded as a model"):
        LocalModel.load(folder, None, model_config())


def test_weights_that_do_not_fit(tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(EngineError, match="lacks weights"):
        LocalModel.load(folder, None, model_config())


def test_pickled_weights_are_refused(tiny_model, tmp_path):
    import torch

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(EngineError, match="cannot be loaded"):
        LocalModel.load(folder, None, model_config())


def test_checkpoint_errors(tiny_model, tmp_path):
    with pytest.raises(EngineError, match=f"{tmp_path} is not a checkpoint folder"):
        LocalModel.load(tiny_model, tmp_path, model_config())
    (tmp_path / "checkpoint.json").write_text('{"kind": "adaptor"}')
    with pytest.raises(EngineError, match="kind is 'adaptor'; did you mean 'adapter'"):
        LocalModel.load(tiny_model, tmp_path, model_config())
    (tmp_path / "checkpoint.json").write_text('{"kind": "adapter"}')
    with pytest.raises(EngineError, match="adapter cannot be merged"):
        LocalModel.load(tiny_model, tmp_path, model_config())


def test_device_that_is_not_there(tiny_model):
    import torch

    if torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(EngineError, match="device mps is not available"):
        LocalModel.load(tiny_model, None, model_config().__class__(**{**vars(model_config()), "device": "mps"}))


def test_prefixes_are_checked_on_the_base_and_not_on_what_a_checkpoint_makes_of_it(tiny_model, tmp_path, monkeypatch):
    """In bfloat16 rounding can change the sure answer of a tuned model, which says nothing about shared prefixes."""
    from whether.engine import local, tree_check

    checked = []

    def watch(model):
        checked.append(model.model.layers[0].mlp.up_proj.weight.detach().clone())
        return tree_check.supports_shared_prefix(model)

    monkeypatch.setattr(local, "supports_shared_prefix", watch)
    write_adapter(tiny_model, tmp_path, lora_alpha=200)
    base = LocalModel.load(tiny_model, None, model_config("bfloat16"))
    tuned = LocalModel.load(tiny_model, tmp_path, model_config("bfloat16"))
    assert base.uses_tree
    assert tuned.uses_tree
    assert base.with_checkpoint(tmp_path).uses_tree
    assert len(checked) == 2
    assert (checked[0] == checked[1]).all()
