"""Each fault of a model folder is one error that names the file, before anything is built on it."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from whether.errors import SourceError
from whether.sources.folder_check import check_model_folder
from whether.sources.models import make_model
from whether.sources.weights import read_header, require_finite

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:5e\nsize 269060552\n"
Spoil = Callable[[Path], object]


@pytest.fixture
def source(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "source"))


def made(source: Path) -> Path:
    target = source.with_name("made")
    target.mkdir()
    make_model({"_target_": "whether.sources.models.folder", "path": str(source)}, target)
    return target


def edit(file: Path, **changes: Any) -> None:
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


def config(**changes: Any) -> Spoil:
    return lambda path: edit(path / "config.json", **changes)


def tokenizer(**changes: Any) -> Spoil:
    return lambda path: edit(path / "tokenizer_config.json", **changes)


def write(name: str, text: str) -> Spoil:
    return lambda path: (path / name).write_text(text)


def weights(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(path: Path) -> None:
        tensors = load_file(path / WEIGHTS)
        change(tensors)
        save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})

    return spoil


def cut(name: str, size: int) -> Spoil:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:size])


def split(path: Path) -> list[str]:
    """Put the weights into two files with an index; return the names of the tensors in the second."""
    tensors = load_file(path / WEIGHTS)
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, path / file, metadata={"format": "pt"})
    places = {name: file for file, held in parts.items() for name in held}
    (path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (path / WEIGHTS).unlink()
    return names[1::2]


def split_and(spoil: Spoil) -> Spoil:
    return lambda path: (split(path), spoil(path))


def lacking(path: Path) -> None:
    names = split(path)
    second = path / "model-00002-of-00002.safetensors"
    tensors = load_file(second)
    del tensors[names[-1]]
    save_file(tensors, second, metadata={"format": "pt"})


def adapter(path: Path) -> None:
    (path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "some/base"}')


def snapshot(path: Path) -> None:
    held = path / "snapshots" / "0123"
    held.mkdir(parents=True)
    for file in [entry for entry in path.iterdir() if entry.is_file()]:
        shutil.move(file, held)


Q_PROJ = "model.layers.1.self_attn.q_proj.weight"
NAN, INFINITE = float("nan"), float("inf")
FAULTS: dict[str, tuple[Spoil, str]] = {
    "LFS pointer for a shard": (
        split_and(write("model-00002-of-00002.safetensors", LFS)),
        r"model-00002-of-00002\.safetensors is a pointer of Git LFS.*git lfs pull",
    ),
    "LFS pointer for config.json": (write("config.json", LFS), r"config\.json is a pointer of Git LFS"),
    "LFS pointer for tokenizer.json": (write("tokenizer.json", LFS), r"tokenizer\.json is a pointer of Git LFS"),
    "LFS pointer for the index": (split_and(write(INDEX, LFS)), r"index\.json is a pointer of Git LFS"),
    "git-annex pointer": (write(WEIGHTS, "/annex/objects/SHA256E-s3--abc\n"), "pointer of git-annex.*git annex get"),
    "a web page": (write("tokenizer.json", "<!DOCTYPE html><html>"), r"tokenizer\.json is a web page"),
    "empty weights": (cut(WEIGHTS, 0), r"model\.safetensors is empty"),
    "weights cut in the header": (cut(WEIGHTS, 100), r"model\.safetensors cannot be read.*cut off or damaged, at 100"),
    "weights cut by a byte": (cut(WEIGHTS, -1), r"model\.safetensors cannot be read as safetensors"),
    "a pickle by another name": (write(WEIGHTS, "PK\x03\x04 and more of it"), "is a pickle by its content"),
    "a shard that is missing": (
        split_and(lambda path: (path / "model-00001-of-00002.safetensors").unlink()),
        r"model-00001-of-00002\.safetensors is missing, of the 2 files",
    ),
    "shards without an index": (
        split_and(lambda path: (path / INDEX).unlink()),
        r"in neither model\.safetensors nor files that model\.safetensors\.index\.json names",
    ),
    "an index without a map": (split_and(write(INDEX, "{}")), "has no weight_map"),
    "a shard that lacks a tensor": (lacking, r"model-00002-of-00002\.safetensors lacks 1 tensors"),
    "another name": (lambda path: (path / WEIGHTS).rename(path / "w.safetensors"), "rename the one to model"),
    "a missing tensor": (weights(lambda held: held.pop(Q_PROJ)), f"lack 1 tensors that config.*{Q_PROJ}"),
    "an untied head that is missing": (config(tie_word_embeddings=False), r"such as lm_head\.weight.*tie_word_embed"),
    "other shapes": (
        config(intermediate_size=96),
        r"mlp\.\w+_proj\.weight of the weights has the shape \[.*128.*\], and config\.json describes \[.*96",
    ),
    "another vocabulary": (config(vocab_size=500), r"embed_tokens\.weight .* \[400, 64\], .* describes \[500, 64\]"),
    "fewer layers than the weights have": (
        config(num_hidden_layers=2),
        r"hold 9 tensors of further layers, such as model\.layers\.2\..*config\.json describes fewer",
    ),
    "NaN": (
        weights(lambda held: held[Q_PROJ].__setitem__((0, 0), NAN)),
        f"1 of 4,096 numbers of {Q_PROJ} are infinite or NaN",
    ),
    "infinite": (weights(lambda held: held[Q_PROJ].fill(-INFINITE)), f"4,096 of 4,096 numbers of {Q_PROJ}"),
    "whole numbers": (
        weights(lambda held: held.update({Q_PROJ: held[Q_PROJ].astype("int8")})),
        r"q_proj\.weight holds whole numbers \(I8\)",
    ),
    "quantised": (config(quantization_config={"quant_method": "gptq", "bits": 4}), r"quantised \(gptq\)"),
    "an encoder": (config(architectures=["LlamaModel"]), "LlamaModel, which does not continue a text"),
    "a classifier": (config(architectures=["LlamaForSequenceClassification"]), "does not continue a text"),
    "an unknown architecture": (config(model_type="unheard-of"), r"config\.json and the weights cannot be loaded"),
    "code for an unknown one": (
        config(model_type="unheard-of", auto_map={"AutoConfig": "own.Config"}),
        "asks for code of the folder to be run",
    ),
    "code with layers of its own": (
        lambda path: (
            config(auto_map={"AutoModelForCausalLM": "own.Model"})(path),
            weights(lambda held: held.update({"model.extra.weight": held[Q_PROJ].copy()}))(path),
        ),
        r"asks for code of the folder.*tensors such as model\.extra\.weight",
    ),
    "broken JSON": (write("generation_config.json", '{"eos_token_id": 2,'), r"generation_config\.json is not JSON"),
    "a list for config.json": (write("config.json", "[]"), r"config\.json is not an object"),
    "a tokenizer of code": (
        lambda path: (
            (path / "tokenizer.json").unlink(),
            (path / "vocab.txt").write_text("a"),
            tokenizer(tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})(path),
        ),
        "tokenizer cannot be loaded.*code of the folder",
    ),
    "a broken tokenizer": (write("tokenizer.json", "{}"), "the tokenizer cannot be loaded"),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), r"has no tokenizer \(none of tokenizer\.json"),
    "an adapter next to a model": (adapter, r"adapter_config\.json says that this is an adapter of some/base"),
    "a checkpoint of ours": (write("checkpoint.json", "{}"), "is a checkpoint of this project.*whether export"),
    "a folder of the hub's cache": (snapshot, r"a model is in snapshots/0123 below it"),
    "GGUF alone": (
        lambda path: ((path / WEIGHTS).rename(path / "m.gguf"), (path / "config.json").unlink()),
        "GGUF files are for other programs",
    ),
    "consolidated alone": (
        lambda path: (path / WEIGHTS).rename(path / "consolidated.safetensors"), "consolidated weights are for another"
    ),
    "a dangling link": (
        lambda path: ((path / WEIGHTS).unlink(), (path / WEIGHTS).symlink_to("../blobs/5e")),
        r"model\.safetensors is a link to a file that is not there \(\.\./blobs/5e\)",
    ),
    "no end token in the tokenizer": (tokenizer(eos_token=None), r'names no end token.*"eos_token": "<\|im_end\|>"'),
    "an end token out of range": (
        lambda path: edit(path / "generation_config.json", eos_token_id=[2, 4000]),
        r"eos_token_id in generation_config\.json is 4000, and the model has tokens 0 to 399",
    ),
    "an end token that is no number": (config(eos_token_id="<|im_end|>"), "eos_token_id|cannot be loaded"),
    "padding out of range": (config(pad_token_id=4000), "cannot be loaded by transformers.*[Pp]adding"),
    "no template": (lambda path: (path / "chat_template.jinja").unlink(), "no chat template"),
    "a template of parts": (
        write("chat_template.jinja", "{% for m in messages %}{{ m.content[0].text }}{% endfor %}"),
        r"chat_template\.jinja leaves out a text of the user in a chat of user",
    ),
    "a template that knows no answer": (
        write(
            "chat_template.jinja",
            "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('one turn only') }}{% endif %}"
            "{{ m.content }}{% endfor %}",
        ),
        "cannot write a chat of system, user, assistant, user.*one turn only",
    ),
    "a template with a mistake": (write("chat_template.jinja", "{% for %}"), r"cannot write a chat of user"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_error_that_names_the_file(source: Path, fault: str) -> None:
    spoil, message = FAULTS[fault]
    spoil(source)
    with pytest.raises(SourceError, match=message) as caught:
        made(source)
    assert str(source) in str(caught.value)
    assert str(source.with_name("made")) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_in_several_files_is_taken(source: Path) -> None:
    whole = json.loads((made(source) / "source.json").read_text())
    shutil.rmtree(source.with_name("made"))
    split(source)
    assert json.loads((made(source) / "source.json").read_text())["parameters"] == whole["parameters"]


def test_weights_that_are_not_the_model_s_are_left_out(source: Path) -> None:
    shutil.copyfile(source / WEIGHTS, source / "model.fp16.safetensors")
    target = made(source)
    assert [file.name for file in target.glob("*.safetensors")] == [WEIGHTS]


def test_code_for_an_architecture_that_is_known_is_not_needed(source: Path) -> None:
    config(auto_map={"AutoModelForCausalLM": "own.Model"})(source)
    (source / "own.py").write_text("raise RuntimeError('it was run')\n")
    made(source)


def test_control_tokens_without_an_embedding_are_harmless_and_others_are_not(source: Path) -> None:
    from transformers import AutoTokenizer

    one = AutoTokenizer.from_pretrained(source)
    one.add_special_tokens({"additional_special_tokens": ["<image>"]})
    one.save_pretrained(source)
    check_model_folder(source, "m")
    one.chat_template = one.chat_template.replace("'<|im_start|>'", "'<image>'")
    one.save_pretrained(source)
    with pytest.raises(SourceError, match=r"401 tokens and the model embeddings for 400 .* such as '<image>'"):
        check_model_folder(source, "m")


def test_a_turn_that_ends_with_another_token_is_a_warning(
    source: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("whether"), "propagate", True)
    template = (source / "chat_template.jinja").read_text()
    (source / "chat_template.jinja").write_text(template.replace("<|im_end|>", "<|endoftext|>"))
    check_model_folder(source, "m")
    assert "ends an answer with '<|endoftext|>', which is not among its end tokens" in caplog.text


def test_matrices_of_zeros_are_a_warning(
    source: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("whether"), "propagate", True)
    weights(lambda held: held[Q_PROJ].fill(0))(source)
    check_model_folder(source, "m")
    assert f"1 weight matrices hold nothing but zeros, such as {Q_PROJ}" in caplog.text


@given(
    dtype=st.sampled_from(["float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"]),
    numbers=st.lists(st.floats(width=16), min_size=1, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_what_is_not_finite_is_counted_as_torch_does(
    dtype: str, numbers: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import torch
    from safetensors.torch import save_file as save

    tensor = torch.tensor(numbers).to(getattr(torch, dtype))
    bad = int((~torch.isfinite(tensor.double())).sum())
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save({"first": torch.zeros(3), "w": tensor}, file)
    tensors = read_header(file, "m")
    assert sorted((held.name, held.size) for held in tensors) == [("first", 3), ("w", len(numbers))]
    if bad:
        with pytest.raises(SourceError, match=rf"w\.safetensors: {bad} of {len(numbers)} numbers of w "):
            require_finite(tensors, "m")
    else:
        require_finite(tensors, "m")


def test_a_tensor_that_is_larger_than_a_piece_is_read_to_its_end(tmp_path: Path) -> None:
    values = np.zeros((3000, 3000), dtype="float32")
    values[-1, -1] = NAN
    save_file({"w": values}, tmp_path / "w.safetensors")
    with pytest.raises(SourceError, match="1 of 9,000,000 numbers"):
        require_finite(read_header(tmp_path / "w.safetensors", "m"), "m")
