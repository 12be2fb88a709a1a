"""Other architectures: the tree where it is exact, the plain path where not, the right numbers either way."""

import pytest
from references import generate_greedily, naive_score, transformers_tokens

from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.errors import EngineError
from whether.records import Decoding

SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "initializer_range": 0.2, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip


def random_model(name, **options):
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SMALL | options)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize(
    ("name", "options", "uses_tree"),
    [
        ("Llama", {"num_key_value_heads": 1}, True),
        ("Qwen2", {"num_key_value_heads": 2}, True),
        ("Qwen3", {"num_key_value_heads": 2, "head_dim": 16}, True),
        ("GPT2", {}, True),
        ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32}, True),
        ("GPTNeoX", {}, True),
        ("Llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}, False),
        ("Mistral", {"num_key_value_heads": 2, "sliding_window": 8}, False),
        ("Gemma2", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8}, False),
        ("Bloom", {"n_layer": 2, "n_head": 4}, False),
        ("Mamba", {"state_size": 4}, False),
    ],
)
def test_every_architecture_gives_right_numbers(tiny, caplog, name, options, uses_tree):
    model = random_model(name, **options)
    with caplog.at_level("WARNING", logger="whether"):
        local = LocalModel(model, tiny.tokenizer)
    assert local.uses_tree == uses_tree, caplog.text
    assert ("computed again for each request" in caplog.text) != uses_tree
    stem = tuple(range(10, 30))
    requests = [ScoringRequest((*stem, token), (token + 1, 5)) for token in (40, 50, 60)] + [
        ScoringRequest(stem[:3], stem[3:])
    ]
    for request, result in zip(requests, local.loglikelihoods(requests), strict=True):
        assert result.log_likelihood == pytest.approx(naive_score(model, request)[0], abs=1e-4)
    prompts = [[*stem, 40], [*stem, 41, 42, 43], list(stem[:5])]
    for prompt, answer in zip(prompts, generate_greedily(local, prompts, Decoding(6)), strict=True):
        assert answer.token_ids == transformers_tokens(local, prompt, 6)


@pytest.mark.parametrize("name", ["Mamba", "Bloom"])
def test_models_that_do_not_tell_their_context_window_are_refused(tiny, name):
    import transformers

    config = getattr(transformers, f"{name}Config")(vocab_size=300, hidden_size=32, num_hidden_layers=2)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(EngineError, match=f"{name.lower()} models do not state their context window"):
        LocalModel(model, tiny.tokenizer)
