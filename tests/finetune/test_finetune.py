"""The stage on the tiny model: same bytes each time, also when it is killed; clear errors; true records."""

import json
import multiprocessing
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_tuner import tuner
from tuning import make_checkpoint, training_data

from whether.config import ModelConfig, PromptConfig, TunerConfig, WarmStartConfig
from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.entry import prepare_process
from whether.errors import ConfigError, DataError, EngineError, RecordError
from whether.finetune.data import encode_rows
from whether.finetune.finetune import state_key
from whether.model.tokens import encode, encode_answer
from whether.prompt.training import training_format
from whether.records import (
    STATE,
    Example,
    Message,
    Task,
    output_folder,
    read_json,
    read_jsonl,
    sha256_file,
    write_jsonl,
)


def tune(folder: Path, artifacts: Path, model_config: ModelConfig, settings: TunerConfig) -> Path:
    folder.mkdir()
    make_checkpoint("lora", settings, model_config, 0, artifacts=artifacts, folder=folder)
    return folder


def timeless_history(folder: Path) -> list[dict[str, Any]]:
    """Lines of history.jsonl without what the clock and the memory meter say."""
    measured = {"seconds", "energy", "peak_memory", "peak_device_memory"}
    return [{k: v for k, v in line.items() if k not in measured} for line in read_jsonl(folder / "history.jsonl")]


def same_result(one: Path, other: Path) -> None:
    for file in (
        "checkpoint/adapter/adapter_model.safetensors",
        "checkpoint/adapter/adapter_config.json",
        "checkpoint/checkpoint.json",
    ):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    assert timeless_history(one) == timeless_history(other)
    assert (one / "loss.csv").read_bytes() == (other / "loss.csv").read_bytes()


def test_base_is_recorded_at_no_cost(tmp_path: Path, artifacts: Path, model_config: ModelConfig) -> None:
    make_checkpoint("base", None, model_config, 0, artifacts=artifacts, folder=tmp_path)
    assert read_json(tmp_path / "checkpoint" / "checkpoint.json")["kind"] == "base"
    metrics = read_json(tmp_path / "metrics.json")
    assert (metrics["train_seconds"], metrics["trained_tokens"], metrics["labels_used"], metrics["flops"]) == (
        0,
        0,
        0,
        0,
    )
    assert {metrics[key] for key in ("dev_loss", "dev_exact", "peak_memory", "energy")} == {None}


@pytest.mark.heavy
def test_two_runs_give_the_same_bytes_and_leave_nothing_behind(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    (STATE / "finetune" / "lora-of-other-settings").mkdir(parents=True)
    (STATE / "finetune" / "dora-unfinished").mkdir()
    one, other = (tune(tmp_path / name, artifacts, model_config, tuner()) for name in ("one", "other"))
    same_result(one, other)
    assert [path.name for path in (STATE / "finetune").iterdir()] == ["dora-unfinished"]
    assert {path.name for path in tmp_path.iterdir()} == {"artifacts", "one", "other", ".state"}


def test_unfinished_work_is_resumed_only_for_the_same_question(artifacts: Path, model_config: ModelConfig) -> None:
    data = training_data(artifacts)
    first, *others = data.train
    relabelled = data._replace(train=[replace(first, completion=[Message("assistant", "other")]), *others])
    model = artifacts / "model"
    keys = {
        state_key(tuner(), model_config, 0, data, model),
        state_key(tuner(learning_rate=1e-2), model_config, 0, data, model),
        state_key(tuner(), replace(model_config, dtype="bfloat16"), 0, data, model),
        state_key(tuner(), model_config, 1, data, model),
        state_key(tuner(), model_config, 0, relabelled, model),
        state_key(tuner(), model_config, 0, data._replace(dev=data.dev[1:]), model),
        state_key(tuner(), model_config, 0, data._replace(task=replace(data.task, instruction="Which?")), model),
        state_key(tuner(), model_config, 0, data, artifacts / "prepare"),
    }
    assert len(keys) == 8
    elsewhere = replace(model_config, device="auto", threads=2, name="other name")
    assert state_key(tuner(), elsewhere, 0, data, model) in keys


@pytest.mark.heavy
def test_records_agree_with_each_other_and_with_the_weights(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train, dev = (read_jsonl(artifacts / "prepare" / f"{split}.jsonl", Example) for split in ("train", "dev"))
    write_jsonl(artifacts / "prepare" / "train.jsonl", [replace(example, target="tech") for example in train])
    write_jsonl(artifacts / "prepare" / "dev.jsonl", [replace(example, target="tech") for example in dev[:6]] + dev[6:])
    folder = tune(tmp_path / "out", artifacts, model_config, tuner())
    checkpoint, metrics = read_json(folder / "checkpoint" / "checkpoint.json"), read_json(folder / "metrics.json")
    lines = read_jsonl(folder / "history.jsonl")
    steps = [line for line in lines if "loss" in line]
    evaluations = [line for line in lines if "dev_loss" in line]
    assert [step["step"] for step in steps] == list(range(1, 19))
    assert [evaluation["step"] for evaluation in evaluations] == [3, 6, 9, 12, 15, 18]
    assert (metrics["labels_used"], metrics["dev_labels_used"], metrics["examples"]) == (22, 8, 66)
    assert metrics["trained_tokens"] == sum(step["tokens"] for step in steps)
    assert metrics["computed_tokens"] < 0.6 * metrics["trained_tokens"]
    assert metrics["train_seconds"] == pytest.approx(sum(step["seconds"] for step in steps))
    assert metrics["train_seconds_with_evaluation"] > metrics["train_seconds"]
    assert metrics["peak_memory"] > 50e6
    assert metrics["peak_device_memory"] is None
    assert metrics["flops"] == pytest.approx(sum(step["flops"] for step in steps))
    assert len({round(step["flops"] / step["computed_tokens"]) for step in steps}) == 1
    assert metrics["energy"] is None or metrics["energy"] > 0
    assert steps[-1]["loss"] < steps[0]["loss"] / 2
    assert max(step["learning_rate"] for step in steps) == 2e-2
    assert checkpoint["disk"] == sum(file.stat().st_size for file in (folder / "checkpoint" / "adapter").iterdir())
    settings = json.loads((folder / "checkpoint" / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "tiny"

    best = next(item for item in evaluations if item["step"] == checkpoint["best_step"])
    assert best["dev_exact"] == metrics["dev_exact"] == max(item["dev_exact"] for item in evaluations)
    tokenizer = AutoTokenizer.from_pretrained(artifacts / "model")
    base = AutoModelForCausalLM.from_pretrained(artifacts / "model")
    model = PeftModel.from_pretrained(base, folder / "checkpoint" / "adapter").eval()
    data = training_data(artifacts)
    right = 0
    for row in encode_rows(tokenizer, data.dev):
        written = model.generate(
            input_ids=torch.tensor([row.prompt]), max_new_tokens=len(row.answer), do_sample=False, pad_token_id=2,
            attention_mask=torch.ones(1, len(row.prompt), dtype=torch.int64),
        )  # fmt: skip
        right += written[0, len(row.prompt) :].tolist() == row.answer
    assert 0 < right / len(data.dev) == metrics["dev_exact"] < 1


@pytest.mark.heavy
def test_training_stops_early_and_keeps_the_best(tmp_path: Path, artifacts: Path, model_config: ModelConfig) -> None:
    folder = tune(tmp_path / "out", artifacts, model_config, tuner(learning_rate=0.2, epochs=8, patience=1))
    checkpoint = read_json(folder / "checkpoint" / "checkpoint.json")
    assert checkpoint["stopped_early"]
    assert checkpoint["best_step"] < checkpoint["steps"] < 48
    assert read_json(folder / "metrics.json")["steps"] == checkpoint["steps"]


def test_diverging_training_names_the_step_and_the_remedy(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    adapter = {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 1e38}
    with pytest.raises(EngineError, match=r"diverged: \w+ is (nan|inf) at step \d of 18; lower tuner.learning_rate"):
        tune(tmp_path / "out", artifacts, model_config, tuner(adapter=adapter))


def add_long_rows(artifacts: Path, count: int) -> None:
    path = artifacts / "prepare" / "dev.jsonl"
    rows = read_jsonl(path, Example)
    long = [replace(rows[0], id=f"long-{number}", inputs={"text": "word " * 200}) for number in range(count)]
    write_jsonl(path, [*rows, *long])


def test_many_too_long_examples_stop_before_training(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    add_long_rows(artifacts, 4)
    with pytest.raises(DataError, match=r"dev: 4 of \d+ rows are longer than .* 128 tokens.*: long-0"):
        tune(tmp_path / "out", artifacts, model_config, tuner())
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.heavy
def test_a_too_long_example_is_left_out_and_changes_nothing_else(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    plain = tune(tmp_path / "plain", artifacts, model_config, tuner())
    add_long_rows(artifacts, 1)
    folder = tune(tmp_path / "out", artifacts, model_config, tuner())
    assert timeless_history(folder) == timeless_history(plain)
    assert not (plain / "left_out.jsonl").exists()
    (left,) = read_jsonl(folder / "left_out.jsonl")
    assert (left["id"], left["split"], left["line"]) == ("long-0", "dev", None)


def test_missing_data_is_named(tmp_path: Path, artifacts: Path, model_config: ModelConfig) -> None:
    (artifacts / "prepare" / "dev.jsonl").unlink()
    with pytest.raises(RecordError, match=r"dev\.jsonl is missing: run `whether run`"):
        tune(tmp_path / "out", artifacts, model_config, tuner())


def work(folder: Path, artifacts: Path, model_config: ModelConfig, settings: TunerConfig) -> None:
    """What the process does that is to be killed: the stage as pipelines/finetune.py runs it."""
    prepare_process()
    with output_folder(folder) as temporary:
        make_checkpoint("lora", settings, model_config, 0, artifacts=artifacts, folder=temporary)


def half_written() -> bool:
    """Whether a checkpoint is being written at this moment."""
    return any(not (path / "sealed").exists() for path in STATE.glob("finetune/lora-*/checkpoint-*"))


@pytest.mark.heavy
@pytest.mark.parametrize(
    "settings", [tuner(epochs=8), tuner(learning_rate=0.5, epochs=16, patience=2)], ids=["to the end", "early stopping"]
)
def test_killed_at_any_moment_it_ends_the_same(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig, settings: TunerConfig
) -> None:
    undisturbed = tune(tmp_path / "undisturbed", artifacts, model_config, settings)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whether.finetune.trainer", "peft", "matplotlib.figure"])
    moments, killed, killed_in_a_save = random.Random(0), 0, 0
    for attempt in range(5):
        process = context.Process(target=work, args=(tmp_path / "killed", artifacts, model_config, settings))
        process.start()
        if attempt < 4:
            while process.is_alive() and not list(STATE.glob("finetune/lora-*")):
                time.sleep(0.001)
            process.join(moments.uniform(0.0, 1.2))
            while attempt % 2 and process.is_alive() and not half_written():
                time.sleep(0.0002)
            killed_in_a_save += half_written()
            process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert process.exitcode == 0
    assert killed >= 2
    assert killed_in_a_save >= 1
    same_result(tmp_path / "killed", undisturbed)
    assert not list(STATE.glob("finetune/*"))


@pytest.mark.heavy
def test_a_checkpoint_is_tuned_with_its_prompt(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig, label_task: Task, examples: Sequence[Example]
) -> None:
    prompt = PromptConfig(strategy={"_target_": "whether.prompt.strategies.few_shot", "examples": 3})
    settings = replace(tuner(), prompt=prompt, max_length=256)
    folder = tmp_path / "prompted"
    folder.mkdir()
    make_checkpoint("lora", settings, model_config, 0, artifacts=artifacts, folder=folder)
    plain = tune(tmp_path / "plain", artifacts, model_config, tuner())
    # The loss on dev is that of the prompt's own answers, counted independently; all rows but three share its turns.
    local = LocalModel.load(artifacts / "model", folder / "checkpoint", model_config)
    lesson = training_format(prompt, label_task, examples[:22], 0, "here")
    asked = [
        ScoringRequest(tuple(encode(local.tokenizer, messages)), tuple(encode_answer(local.tokenizer, answer)))
        for messages, answer in map(lesson, examples[22:])
    ]
    scores = local.loglikelihoods(asked)
    loss = -sum(score.log_likelihood for score in scores) / sum(score.tokens for score in scores)
    metrics, alone = (read_json(one / "metrics.json") for one in (folder, plain))
    assert metrics["dev_loss"] == pytest.approx(loss, rel=1e-4)
    assert metrics["trained_tokens"] > 1.5 * alone["trained_tokens"]
    assert metrics["computed_tokens"] < metrics["trained_tokens"] / 2


@pytest.mark.heavy
def test_training_goes_on_from_another_adapter(tmp_path: Path, artifacts: Path, model_config: ModelConfig) -> None:
    first = tune(tmp_path / "first", artifacts, model_config, tuner())
    weights = first / "checkpoint/adapter/adapter_model.safetensors"
    start = WarmStartConfig(str(first / "checkpoint" / "adapter"), sha256_file(weights))
    second = tune(tmp_path / "second", artifacts, model_config, replace(tuner(), warm_start=start))
    losses = [read_jsonl(folder / "history.jsonl")[0]["loss"] for folder in (first, second)]
    assert losses[1] < losses[0] / 2
    assert weights.read_bytes() != (second / "checkpoint/adapter/adapter_model.safetensors").read_bytes()
    for wrong, message in (
        (replace(start, sha256="0" * 64), "holds other weights"),
        (replace(start, adapter="nowhere"), "nowhere/adapter_model.safetensors is missing"),
    ):
        with pytest.raises(ConfigError, match=message):
            tune(tmp_path / message[:5], artifacts, model_config, replace(tuner(), warm_start=wrong))
    adapter = {**tuner().adapter, "r": 3}
    with pytest.raises(ConfigError, match=r"is of another adapter: .* method, rank and layers have to be the same"):
        tune(tmp_path / "rank", artifacts, model_config, replace(tuner(), warm_start=start, adapter=adapter))
