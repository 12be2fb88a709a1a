"""An exported folder answers what the engine answers with the checkpoint, and needs nothing of ours."""

import json
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from references import generate_greedily
from repository import Study
from serving import transformers_server
from tiny_tuner import tuner
from tuning import make_checkpoint

from whether.chat.messages import zero_shot_messages
from whether.config import CheckpointConfig
from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.errors import ConfigError, EngineError, RecordError
from whether.export.export import _check_weights, export
from whether.model.tokens import encode, encode_answer
from whether.records import Decoding, Example, Task, output_folder, read_json, read_jsonl, write_json
from whether.sources.folder_check import check_model_folder


def weights_of(study: Study, name: str) -> Path:
    """The folder of a checkpoint's weights."""
    return study.artifacts / "finetune" / name / "checkpoint"


@pytest.mark.heavy
def test_answers_and_log_likelihoods_are_those_of_the_engine(study: Study) -> None:
    export("lora", study.config, artifacts=study.artifacts, folder=Path("merged"))
    answers_like_the_engine(study, Path("merged"))


@pytest.mark.heavy
def test_every_weight_tuned_is_a_folder_of_its_own_too(study: Study) -> None:
    adapter = {"_target_": "whether.finetune.adapters.full"}
    settings = tuner(adapter=adapter, learning_rate=2e-3, epochs=2, max_length=256)
    checkpoints = {**study.config.checkpoints, "full": CheckpointConfig(settings)}
    arms = replace(study.config.arms, checkpoint=list(checkpoints))
    config = replace(study.config, checkpoints=checkpoints, arms=arms)
    with output_folder(study.artifacts / "finetune" / "full") as folder:
        make_checkpoint("full", settings, config.model, config.seed, artifacts=study.artifacts, folder=folder)
    export("full", config, artifacts=study.artifacts, folder=Path("merged"))
    answers_like_the_engine(study, Path("merged"), "full")
    assert "full" in Path("merged/README.md").read_text()


def answers_like_the_engine(study: Study, folder: Path, name: str = "lora", count: int = 6) -> None:
    """Compare what transformers alone makes of the folder with the engine and the checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    engine = LocalModel.load(study.artifacts / "model", weights_of(study, name), study.config.model)
    base = LocalModel.load(study.artifacts / "model", None, study.config.model)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    task = read_json(study.artifacts / "prepare" / "task.json", Task)
    examples = read_jsonl(study.artifacts / "prepare" / "test.jsonl", Example)[:count]
    asked = [zero_shot_messages(task, example) for example in examples]
    prompts = [encode(engine.tokenizer, messages) for messages in asked]
    likely = [ScoringRequest(tuple(prompt), tuple(encode_answer(engine.tokenizer, label)))
              for prompt in prompts for label in task.labels]  # fmt: skip
    expected = generate_greedily(engine, prompts, Decoding(task.max_new_tokens))
    assert [row.token_ids for row in expected] != [
        row.token_ids for row in generate_greedily(base, prompts, Decoding(task.max_new_tokens))
    ], "tuning changed nothing that could be seen"
    for messages, answer in zip(asked, expected, strict=True):
        chat = [message._asdict() for message in messages]
        inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=task.max_new_tokens)
        ending = [tokenizer.eos_token_id] if answer.finished else []
        assert output[0, inputs["input_ids"].shape[1] :].tolist() == [*answer.token_ids, *ending]
    for request, score in zip(likely, engine.loglikelihoods(likely), strict=True):
        ids = torch.tensor([[*request.context, *request.continuation]])
        with torch.no_grad():
            table = model(ids).logits[0, len(request.context) - 1 : -1].log_softmax(-1)
        found = float(table.gather(1, torch.tensor(request.continuation)[:, None]).sum())
        assert found == pytest.approx(score.log_likelihood, abs=2e-4)


def test_the_folder_is_complete_and_plain(study: Study) -> None:
    export("lora", study.config, artifacts=study.artifacts, folder=Path("out/merged"))
    assert check_model_folder(Path("out/merged"), "out").system_role == "own", "as a model source it passes"
    names = {file.name for file in Path("out/merged").iterdir()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "README.md",
    }  # fmt: skip
    assert {file.stat().st_mode & 0o777 for file in Path("out/merged").iterdir()} == {0o644}
    assert [path.name for path in Path("out").iterdir()] == ["merged"]
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (Path("out/merged") / name).read_bytes() == (study.artifacts / "model" / name).read_bytes()
    places = {str(study.root), str(study.root.parent), str(study.root.parents[2]), str(Path.home())}
    for name in names - {"model.safetensors"}:
        text = (Path("out/merged") / name).read_text()
        assert not any(place in text for place in places), name


@pytest.mark.heavy
def test_bfloat16_is_the_rounded_float32(study: Study) -> None:
    from safetensors.torch import load_file

    export("lora", study.config, artifacts=study.artifacts, folder=Path("full"))
    export("lora", study.config, artifacts=study.artifacts, folder=Path("half"), dtype="bfloat16")
    full, half = (load_file(Path(name) / "model.safetensors") for name in ("full", "half"))
    assert full.keys() == half.keys()
    assert all((full[name].to(half[name].dtype) == half[name]).all() for name in full)
    assert read_json(Path("half/config.json"))["dtype"] == "bfloat16"
    assert "measured in float32; these weights are rounded to bfloat16" in Path("half/README.md").read_text()


def test_answers_end_where_the_engine_ends_them(study: Study) -> None:
    """A model may name other ending tokens than its tokenizer: the engine heeds both."""
    file = study.artifacts / "model" / "generation_config.json"
    write_json(file, {**json.loads(file.read_text()), "eos_token_id": [0, 5], "repetition_penalty": 3.0})
    export("lora", study.config, artifacts=study.artifacts, folder=Path("merged"))
    written = read_json(Path("merged/generation_config.json"))
    assert written["eos_token_id"] == [0, 2, 5]
    assert "repetition_penalty" not in written


@pytest.mark.heavy
def test_a_server_of_transformers_answers_the_same(study: Study, tmp_path: Path) -> None:
    export("lora", study.config, artifacts=study.artifacts, folder=Path("merged"))
    engine = LocalModel.load(study.artifacts / "model", weights_of(study, "lora"), study.config.model)
    task = read_json(study.artifacts / "prepare" / "task.json", Task)
    example = read_jsonl(study.artifacts / "prepare" / "test.jsonl", Example)[0]
    messages = zero_shot_messages(task, example)
    ((expected,),) = engine.generate([messages], Decoding(8))
    with transformers_server(Path("merged"), tmp_path / "log") as url:
        body = {"model": "merged", "messages": [message._asdict() for message in messages], "max_tokens": 8}
        answer = httpx2.post(f"{url}/chat/completions", json=body, timeout=120).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] == expected.text


def test_lm_eval_scores_the_folder_as_the_engine_scores_the_checkpoint(study: Study) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    export("lora", study.config, artifacts=study.artifacts, folder=Path("merged"))
    engine = LocalModel.load(study.artifacts / "model", weights_of(study, "lora"), study.config.model)
    peer = HFLM(pretrained="merged", device="cpu", dtype="auto", batch_size=1)
    asked = [("Which team?", " billing"), ("A longer question, with a comma.", " technical")]
    instances = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(asked)]
    encoded = [ScoringRequest(*(tuple(ids) for ids in peer._encode_pair(*pair))) for pair in asked]
    expected = [score.log_likelihood for score in engine.loglikelihoods(encoded)]
    assert [value for value, _ in peer.loglikelihood(instances, disable_tqdm=True)] == pytest.approx(expected, abs=2e-4)


@pytest.mark.real
def test_the_real_model_too(study: Study, real_model: Path) -> None:
    """Random weights of a LoRA, far from zero, on the real model; merged, saved and read back it is the same model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    settings = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(real_model), settings)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            weight.data *= 0.05
    adapter = study.artifacts / "finetune" / "lora" / "checkpoint" / "adapter"
    for file in adapter.iterdir():
        file.unlink()
    tuned.save_pretrained(adapter)
    model = study.artifacts / "model"
    for file in model.iterdir():
        file.unlink()
    for file in real_model.iterdir():
        (model / file.name).symlink_to(file.resolve())
    export("lora", study.config, artifacts=study.artifacts, folder=Path("merged"))
    answers_like_the_engine(study, Path("merged"), count=2)


@pytest.mark.heavy
def test_a_used_folder_is_left_alone(study: Study) -> None:
    def run(folder: str, force: bool = False) -> None:
        export("lora", study.config, artifacts=study.artifacts, folder=Path(folder), force=force)

    Path("empty").mkdir()
    run("empty")
    (Path("empty") / "config.json").write_text("{}")
    with pytest.raises(RecordError, match="empty is not empty: name another folder, or replace it with --force"):
        run("empty")
    assert Path("empty/config.json").read_text() == "{}"
    run("empty", force=True)
    assert read_json(Path("empty/config.json"))["model_type"] == "llama"
    Path("notes").mkdir()
    Path("notes/thesis.txt").write_text("years of work")
    for folder, message in {
        "notes": "notes is in use and no model folder", ".": "is in use", "examples/tickets.csv": "is a file",
        "artifacts/model": r"artifacts/model is in artifacts/, where only stages write",
    }.items():  # fmt: skip
        with pytest.raises(RecordError, match=message):
            run(folder, force=True)
    assert Path("notes/thesis.txt").exists()


def with_checkpoint(study: Study, **changes: Any) -> None:
    file = study.artifacts / "finetune" / "lora" / "checkpoint" / "checkpoint.json"
    write_json(file, read_json(file) | changes)


def test_what_cannot_be_exported_says_what_to_do(study: Study) -> None:
    def run(name: str) -> None:
        export(name, study.config, artifacts=study.artifacts, folder=Path("merged"))

    with pytest.raises(ConfigError, match="no checkpoint is called 'lara'; did you mean 'lora'"):
        run("lara")
    with pytest.raises(EngineError, match="base cannot be a model folder: it is the model as it is: artifacts/model"):
        run("base")
    with_checkpoint(study, kind="head")
    with pytest.raises(EngineError, match="lora cannot be a model folder: it answers with a classification head"):
        run("lora")
    with_checkpoint(study, kind="adapter", model="another")
    with pytest.raises(RecordError, match=r"holds the model another, and params.yaml says tiny: run `whether run`"):
        run("lora")
    adapter = study.artifacts / "finetune" / "lora" / "checkpoint" / "adapter"
    (adapter / "adapter_model.safetensors").write_bytes(b"no weights")
    with_checkpoint(study, model="tiny")
    with pytest.raises(EngineError, match="adapter cannot be merged into the model"):
        run("lora")
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(EngineError, match="adapter cannot be read as an adapter"):
        run("lora")
    (adapter.parent / "checkpoint.json").unlink()
    with pytest.raises(RecordError, match="lora is not tuned yet: run `dvc repro finetune@lora`"):
        run("lora")
    assert not Path("merged").exists()
    assert not list(Path().glob(".merged*"))


def test_learned_prompts_are_sent_to_peft(study: Study) -> None:
    from peft import PromptTuningConfig

    adapter = study.artifacts / "finetune" / "lora" / "checkpoint" / "adapter"
    PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM").save_pretrained(adapter)
    with pytest.raises(EngineError, match=r"PROMPT_TUNING puts learned vectors .* PeftModel.from_pretrained"):
        export("lora", study.config, artifacts=study.artifacts, folder=Path("merged"))


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:Model (has|with) `tie_word_embeddings=True`:UserWarning")
@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning")
@pytest.mark.parametrize("layer", ["target_modules", "modules_to_save"])
def test_a_changed_output_layer_survives_though_it_was_tied_to_the_input(study: Study, layer: str) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = {"target_modules": ["q_proj"], layer: ["lm_head"]}
    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(study.artifacts / "model"), LoraConfig(r=2, lora_alpha=2, **settings)
    )
    for name, weight in tuned.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            weight.data += 0.1
    tuned.save_pretrained(study.artifacts / "finetune" / "lora" / "checkpoint" / "adapter", save_embedding_layers=False)
    export("lora", study.config, artifacts=study.artifacts, folder=Path("merged"))
    answers_like_the_engine(study, Path("merged"))


def test_weights_that_do_not_come_back_are_noticed(study: Study) -> None:
    import torch

    expected = {"model.norm.weight": "0" * 64}
    with pytest.raises(EngineError, match=r"not what transformers reads back: \d+ tensors differ, such as"):
        _check_weights(study.artifacts / "model", expected, torch.float32)


@pytest.mark.heavy
def test_killed_it_leaves_no_folder(study: Study, warm: Path) -> None:
    import yaml

    from whether.records import to_builtins, write_text

    write_text(Path("params.yaml"), yaml.safe_dump(json.loads(json.dumps(to_builtins(study.config), default=str))))
    command = [str(warm / "python"), "-m", "whether.cli", "export", "lora", "merged"]
    process = subprocess.Popen(command)
    while process.poll() is None and not list(Path().glob(".merged.*/*")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not Path("merged").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"merged: checkpoint lora in float32, [\d.]+ MB, with its card in README.md", done.stderr)
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
