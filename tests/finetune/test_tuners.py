"""Every tuner of conf/checkpoint: packed exactly, trained by the stage, and run by the engine as it was trained."""

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from references import generate_greedily
from tiny_tuner import tuner
from tuners import TUNERS
from tuning import make_checkpoint, read_prepared, training_data

from whether.chat.messages import zero_shot_messages
from whether.config import CONF, ModelConfig, build, check, compose
from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.errors import ConfigError, EngineError, MissingPackageError
from whether.finetune.data import TrainingRow, encode_rows
from whether.finetune.packing import IGNORED, Collator
from whether.records import STATE, Decoding, Sampling, Task, read_json

CONF_FOLDER = Path(__file__).parents[2] / CONF
PREFIX = list(range(10, 40))
ROWS = [
    TrainingRow([*PREFIX, 50, 51], [60, 2]),
    TrainingRow([*PREFIX, 52], [61, 62, 2]),
    TrainingRow([*PREFIX, 53, 54, 55], [60, 2]),
]
RATES = {"full": 1e-2, "linear_probe": 5e-2, "ia3": 1e-1, "vera": 1e-1}


def test_every_file_is_covered() -> None:
    files = {file.stem for file in (CONF_FOLDER / "checkpoint").glob("*.yaml")}
    # These train nothing, or are `lora` with other messages (test_a_checkpoint_is_tuned_with_its_prompt).
    assert files - {"base", "served", "lora_prompted"} == TUNERS.keys()


@pytest.fixture(autouse=True)
def _optional_packages(request: pytest.FixtureRequest) -> None:
    """Skip a tuner whose package is not installed."""
    if "name" in request.fixturenames and request.getfixturevalue("name") == "qlora":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'whether[qlora]'")


def adapted(name: str, folder: Path, task: Task) -> Any:
    """The model with what the tuner trains, none of it as it begins."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = build(TUNERS[name], AutoModelForCausalLM.from_pretrained(folder), task)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += torch.randn_like(weight) * 0.1
    return model


@pytest.mark.parametrize("name", TUNERS)
@pytest.mark.parametrize(("own_tokens", "blocks"), [(1024, False), (1024, True), (5, True)])
def test_packed_batches_have_the_loss_and_gradients_of_padded_ones(  # noqa: PLR0917 - fixtures
    name: str, own_tokens: int, blocks: bool, tiny_model: Path, label_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from whether.finetune import packed_attention
    from whether.finetune.losses import answer_scores

    packed_attention.register()
    monkeypatch.setattr("whether.finetune.packing.OWN_TOKENS", own_tokens)
    model = adapted(name, tiny_model, label_task)
    rows = [TrainingRow(row.prompt, [index]) for index, row in enumerate(ROWS)] if name == "linear_probe" else ROWS
    results = []
    for packed in (True, False):
        model.zero_grad()
        if packed and blocks:
            (model if name in ("full", "linear_probe") else model.get_base_model()).set_attn_implementation(
                packed_attention.NAME
            )
        batch = Collator(packed, torch.float32, blocks=blocks)(rows)
        loss = answer_scores(model, batch)[0].sum() / batch["labels"].ne(IGNORED).sum()
        loss.backward()
        gradients = [weight.grad.flatten() for weight in model.parameters() if weight.requires_grad]
        results.append((loss.detach(), torch.cat(gradients)))
    (packed_loss, packed_gradients), (padded_loss, padded_gradients) = results
    torch.testing.assert_close(packed_loss, padded_loss, rtol=1e-5, atol=0)
    assert (packed_gradients - padded_gradients).norm() <= 1e-5 * padded_gradients.norm()


def tune(name: str, folder: Path, artifacts: Path, model: ModelConfig, **changes: Any) -> Path:
    folder.mkdir()
    settings = tuner(adapter=TUNERS[name], learning_rate=RATES.get(name, 2e-2), **changes)
    make_checkpoint(name, settings, model, 0, artifacts=artifacts, folder=folder)
    return folder


def answers(local: LocalModel, artifacts: Path) -> list[str]:
    data = read_prepared(artifacts)
    chats = [zero_shot_messages(data.task, example) for example in data.dev]
    return [answer.text for (answer,) in local.generate(chats, Decoding(12))]


def dev_loss(local: LocalModel, artifacts: Path) -> float:
    rows = encode_rows(local.tokenizer, training_data(artifacts).dev)
    scores = local.loglikelihoods([ScoringRequest(tuple(row.prompt), tuple(row.answer)) for row in rows])
    return -sum(score.log_likelihood for score in scores) / sum(score.tokens for score in scores)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:bitsandbytes..gemv_4bit:UserWarning")  # of a row alone, without gradients, on a CPU
@pytest.mark.parametrize("name", TUNERS)
def test_the_engine_answers_as_the_tuned_model_was_measured(
    name: str, tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    folder = tune(name, tmp_path / "out", artifacts, model_config)
    record, metrics = read_json(folder / "checkpoint" / "checkpoint.json"), read_json(folder / "metrics.json")
    assert record["kind"] == {"full": "weights", "linear_probe": "head"}.get(name, "adapter")
    assert record["shared_prefix"]
    assert record["trainable_parameters"] > 0
    steps = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    losses = [step["loss"] for step in steps if "loss" in step]
    assert losses[-1] < losses[0]

    base = LocalModel.load(artifacts / "model", None, model_config)
    before = answers(base, artifacts)
    tuned = base.with_checkpoint(folder / "checkpoint")
    targets = [example.target for example in read_prepared(artifacts).dev]
    written = answers(tuned, artifacts)
    right = sum(answer == target for answer, target in zip(written, targets, strict=True))
    if name == "linear_probe":
        assert right == metrics["dev_exact"] * len(targets) > 0
    elif name != "qlora":  # it is trained on other weights than it answers with
        assert right >= metrics["dev_exact"] * len(targets)
        assert dev_loss(tuned, artifacts) == pytest.approx(metrics["dev_loss"], rel=1e-4)
    assert answers(LocalModel.load(artifacts / "model", folder / "checkpoint", model_config), artifacts) == written
    assert answers(base, artifacts) == before, "the base is what it was"


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["lora", "full", "linear_probe"])
def test_small_updates_are_not_rounded_away_next_to_a_base_in_bfloat16(
    name: str, tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    """What is trained is float32; in bfloat16 a step of a ten-thousandth of a weight would change nothing."""
    from safetensors.torch import load_file

    settings = replace(model_config, dtype="bfloat16")
    folder = tune(name, tmp_path / "out", artifacts, settings)
    (file,) = (folder / "checkpoint").rglob("*.safetensors")
    assert {str(weight.dtype) for weight in load_file(file).values()} == {"torch.float32"}
    assert read_json(folder / "checkpoint" / "checkpoint.json")["dtype"] == "bfloat16"
    steps = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    losses = [step["loss"] for step in steps if "loss" in step]
    assert losses[-1] < losses[0]
    tuned = LocalModel.load(artifacts / "model", folder / "checkpoint", settings)
    assert str(tuned.model.dtype) == "torch.bfloat16"
    targets = [example.target for example in read_prepared(artifacts).dev]
    right = sum(answer == target for answer, target in zip(answers(tuned, artifacts), targets, strict=True))
    assert right == pytest.approx(read_json(folder / "metrics.json")["dev_exact"] * len(targets), abs=1)


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["prompt_tuning", "full", "linear_probe"])
def test_interrupted_training_ends_with_the_same_weights(
    name: str, tmp_path: Path, artifacts: Path, model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whether.finetune.callbacks import SealCheckpoint

    whole = tune(name, tmp_path / "whole", artifacts, model_config)
    on_save = SealCheckpoint.on_save

    def interrupt(self: SealCheckpoint, args: Any, state: Any, control: Any, **options: Any) -> None:
        on_save(self, args, state, control, **options)
        if state.global_step == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SealCheckpoint, "on_save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tune(name, tmp_path / "interrupted", artifacts, model_config)
    assert list(STATE.glob(f"finetune/{name}-*/checkpoint-9"))
    again = tune(name, tmp_path / "again", artifacts, model_config)
    for file in (path.relative_to(whole) for path in whole.rglob("*.safetensors")):
        assert (whole / file).read_bytes() == (again / file).read_bytes()


def virtual_token_model(name: str, tiny_model: Path, task: Task, tmp_path: Path) -> Any:
    """A peft model of prompt learning, saved as a checkpoint in `tmp_path`."""
    model = adapted(name, tiny_model, task).eval()
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "checkpoint.json").write_text('{"kind": "adapter"}')
    return model


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["prompt_tuning", "prefix_tuning"])
@pytest.mark.parametrize("tree", [True, False], ids=["tree", "plain"])
def test_virtual_tokens_in_the_engine_are_those_of_peft(  # noqa: PLR0917 - fixtures
    name: str, tree: bool, tiny_model: Path, label_task: Task, tmp_path: Path, model_config: ModelConfig
) -> None:
    import torch

    model = virtual_token_model(name, tiny_model, label_task, tmp_path)
    local = LocalModel.load(tiny_model, tmp_path, model_config)
    local.uses_tree = tree
    prompts: Sequence[list[int]] = [[5, 6, 7], [5, 6, 8, 9], [5, 6, 7], [11] * 40]
    requests = [ScoringRequest(tuple(prompt), (9, 10 + index)) for index, prompt in enumerate(prompts)]
    for score, (context, continuation) in zip(local.loglikelihoods(requests), requests, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*context, *continuation]])).logits[0, -3:-1].log_softmax(-1)
        expected = sum(logits[place, token].item() for place, token in enumerate(continuation))
        assert score.log_likelihood == pytest.approx(expected, abs=1e-4)
    for prompt, answer in zip(prompts, generate_greedily(local, prompts, Decoding(8)), strict=True):
        tokens = list(prompt)
        for _ in range(8):
            with torch.no_grad():
                tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        whole = tokens[len(prompt) :]
        assert answer.token_ids == whole[: len(answer.token_ids)]
        assert answer.input_tokens == len(prompt)
        assert len(answer.token_ids) == 8 or whole[len(answer.token_ids)] in local.eos_token_ids
    window = LocalModel.load(tiny_model, None, model_config).context_window
    assert local.context_window == window - 5


@pytest.mark.heavy
def test_a_linear_probe_draws_labels_and_keeps_the_language_model(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    folder = tune("linear_probe", tmp_path / "out", artifacts, model_config)
    probe = LocalModel.load(artifacts / "model", folder / "checkpoint", model_config)
    base = LocalModel.load(artifacts / "model", None, model_config)
    data = read_prepared(artifacts)
    chats = [zero_shot_messages(data.task, example) for example in data.dev]
    drawn = probe.generate(chats, Decoding(1, sampling=Sampling(temperature=5.0, samples=20, seed=0)))
    assert all({answer.text for answer in of_one} <= set(data.task.labels) for of_one in drawn)
    assert any(len({answer.text for answer in of_one}) > 1 for of_one in drawn)
    request = ScoringRequest((5, 6, 7), (8, 9))
    assert probe.loglikelihoods([request]) == base.loglikelihoods([request])

    labels = read_prepared(artifacts).task.labels
    likeliest = [answer.text for (answer,) in probe.generate(chats, Decoding(1))]
    for judgement, label in zip(probe.score_labels(chats, labels), likeliest, strict=True):
        values = [score.log_likelihood for score in judgement.scores]
        assert labels[values.index(max(values))] == label
        assert sum(map(math.exp, values)) == pytest.approx(1)
    with pytest.raises(EngineError, match=r"is a linear probe with the labels .*, not 'nonsense'"):
        probe.score_labels(chats, ["nonsense"])
    assert json.loads((folder / "checkpoint" / "checkpoint.json").read_text())["labels"] == data.task.labels


def test_a_task_without_labels_has_no_linear_probe(tiny_model: Path, label_task: Task) -> None:
    from transformers import AutoModelForCausalLM

    with pytest.raises(
        ConfigError, match="a linear probe chooses among labels, and the task tickets has output 'text'"
    ):
        build(
            TUNERS["linear_probe"],
            AutoModelForCausalLM.from_pretrained(tiny_model),
            replace(label_task, output="text", labels=[]),
        )


def test_weights_of_another_model_are_refused(tmp_path: Path, artifacts: Path, model_config: ModelConfig) -> None:
    import torch
    from safetensors.torch import save_file

    (tmp_path / "checkpoint.json").write_text('{"kind": "weights"}')
    save_file({"model.norm.weight": torch.ones(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(
        EngineError, match=r"weights\.safetensors does not fit .* model\.norm\.weight is of the shape \[64\]"
    ):
        LocalModel.load(artifacts / "model", tmp_path, model_config)


def test_qlora_without_its_package_says_how_to_install_it(
    tiny_model: Path, label_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    with pytest.raises(
        MissingPackageError, match=r"qlora needs the package 'bitsandbytes': pip install 'whether\[qlora\]'"
    ):
        build(TUNERS["qlora"], AutoModelForCausalLM.from_pretrained(tiny_model), label_task)


def architectures() -> dict[str, Any]:
    """Small models of several families."""
    from transformers import Gemma2Config, GPT2Config, OPTConfig, Phi3Config, Qwen2Config

    size: dict[str, Any] = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    return {
        "qwen2": Qwen2Config(**size, **heads),
        "gemma2": Gemma2Config(**size, **heads, head_dim=8),
        "phi3": Phi3Config(**size, **heads, pad_token_id=0),
        "gpt2": GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4),
        "opt": OPTConfig(**size, num_attention_heads=4, ffn_dim=64, word_embed_proj_dim=32),
    }


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "phi3", "gpt2", "opt"])
@pytest.mark.parametrize("tuned_by", ["lora", "vera", "ia3"])
def test_default_target_modules_are_layers_of_every_block_and_never_the_head(
    family: str, tuned_by: str, label_task: Task
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(architectures()[family])
    if (family, tuned_by) == ("phi3", "ia3"):
        with pytest.raises(ConfigError, match=r"tuner\.adapter\.target_modules: .*target_modules"):
            build(TUNERS[tuned_by], model, label_task)
        return
    adapted = build(TUNERS[tuned_by], model, label_task)
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    blocks = {part for name in trained for part in re.findall(r"\.(?:layers|h)\.(\d)\.", name)}
    assert blocks == {"0", "1"}
    assert not any("head" in name or "embed" in name or "wte" in name for name in trained)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore:bitsandbytes..gemv_4bit:UserWarning")
@pytest.mark.parametrize(
    "name", [name if name == "lora" else pytest.param(name, marks=pytest.mark.slow) for name in TUNERS]
)
def test_each_tunes_the_real_model(
    name: str, tmp_path: Path, artifacts: Path, model_config: ModelConfig, real_model: Path
) -> None:
    (artifacts / "model").unlink()
    (artifacts / "model").symlink_to(real_model)
    settings = check(yaml.safe_load(compose([f"checkpoint=[base,{name}]"], CONF_FOLDER))).checkpoints[name].tuner
    assert settings is not None
    folder = tmp_path / "out"
    folder.mkdir()
    make_checkpoint(
        name, replace(settings, epochs=2), replace(model_config, threads=None), 0, artifacts=artifacts, folder=folder
    )
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] > min(line["dev_loss"] for line in lines if "dev_loss" in line)
    assert read_json(folder / "checkpoint" / "checkpoint.json")["shared_prefix"]
    local = LocalModel.load(artifacts / "model", folder / "checkpoint", model_config)
    written = answers(local, artifacts)
    assert len(written) == 8
    exact = sum(a == example.target for a, example in zip(written, read_prepared(artifacts).dev, strict=True)) / 8
    assert exact >= read_json(folder / "metrics.json")["dev_exact"] or name == "qlora"
