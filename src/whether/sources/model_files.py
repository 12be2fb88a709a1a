"""The files of a model folder: which are taken, and whether each of them is what its name says.

Nothing is loaded here: what a folder lacks, or has instead, is told by names and by the beginnings of files.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whether.errors import SourceError

FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""What is taken from a repository or folder; `.bin`, `.pt` and the like are pickles."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SECOND_FORMAT = "consolidated*"
"""The same weights as another program reads them, next to those for transformers."""
_TOKENIZERS = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt")
_STAND_INS = {
    b"version https://git-lfs.github.com/spec/": "is a pointer of Git LFS, not the file itself: run `git lfs pull` in"
    " the folder that it is from, or download the file",
    b"/annex/objects/": "is a pointer of git-annex, not the file itself: run `git annex get` in the folder it is from",
    b"<!doctype html": "is a web page, which a download got in the file's place: download the file again",
    b"<html": "is a web page, which a download got in the file's place: download the file again",
}
"""Beginning of a file, in lower case → what it is."""


def take_files(source: Path, target: Path, what: str) -> None:
    """Put the files of a model folder into another one, by hard links where the file system can.

    `what` is the source as messages name it. Raises SourceError for a folder that holds no transformers model with
    safetensors weights, or a file that is a stand-in for itself.
    """
    require_model(source, what)
    for file in sorted(entry for pattern in FILES for entry in source.glob(pattern)):
        if file.match(_SECOND_FORMAT) or (target / file.name).exists():
            continue
        if not file.exists():
            raise SourceError(
                f"model {what}: {file.name} is a link to a file that is not there ({file.readlink()}): download the"
                " model again"
            )
        try:
            os.link(file.resolve(), target / file.name)
        except OSError:  # another file system, or one without links
            shutil.copyfile(file, target / file.name)


def require_model(source: Path, what: str) -> None:
    """Raise SourceError for what is in the place of a model, each thing by its name."""
    names = sorted(entry.name for entry in source.iterdir())
    if "adapter_config.json" in names:
        raise SourceError(f"model {what}: {_adapter_advice(source)}")
    if "checkpoint.json" in names:
        raise SourceError(
            f"model {what} is a checkpoint of this project, which goes on a base model: `whether export <checkpoint>"
            " <folder>` makes a model folder of it, which model.source.path can name"
        )
    if "config.json" not in names:
        raise SourceError(f"model {what} has no config.json: it is not a transformers model{_instead(source, names)}")
    if not any(Path(name).match("*.safetensors") and not Path(name).match(_SECOND_FORMAT) for name in names):
        raise SourceError(f"model {what} has no *.safetensors weights ({_held(names)}); {_other_weights(names)}")


def _adapter_advice(source: Path) -> str:
    try:
        base = json.loads((source / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None
    return (
        f"adapter_config.json says that this is an adapter{f' of {base}' if base else ''}, not a model: merge it into"
        " its base (peft: `AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().save_pretrained(other)`,"
        " then copy the tokenizer's files there), or name the base as the model"
    )


def _instead(source: Path, names: list[str]) -> str:
    """Return what a folder without config.json holds, as the end of a message."""
    below = sorted(file.parent.relative_to(source).as_posix() for file in _configs_below(source))
    if below:
        return f"; a model is in {', '.join(below[:3])} below it: name that folder"
    if any(name.endswith(".gguf") for name in names):
        return f"; {_other_weights(names)}"
    return f" ({_held(names)})"


def _configs_below(source: Path) -> Iterator[Path]:
    for pattern in ("*/config.json", "snapshots/*/config.json"):  # the second is that of the hub client's cache
        yield from source.glob(pattern)


def _held(names: list[str]) -> str:
    kinds = sorted({f"*{Path(name).suffix}" for name in names if Path(name).suffix})
    return f"it holds {', '.join(kinds) or 'nothing'}"


def _other_weights(names: list[str]) -> str:
    """Return what to do about weights in another format."""
    if any(name.endswith(".gguf") for name in names):
        return (
            "GGUF files are for other programs: convert one with transformers (`AutoModelForCausalLM.from_pretrained("
            "folder, gguf_file=name).save_pretrained(other)`, and its tokenizer likewise), or take the repository"
            " that it was made from"
        )
    if any(Path(name).match(_SECOND_FORMAT) for name in names):
        return "consolidated weights are for another program: take the repository's version for transformers"
    return (
        "pickled weights are never loaded: choose a revision with safetensors, or convert them with `save_pretrained`"
        " where you trust them"
    )


def require_whole_files(folder: Path, what: str) -> None:
    """Raise SourceError for a file of a model folder that is empty, a stand-in, or JSON that cannot be read."""
    for file in sorted(entry for pattern in FILES for entry in folder.glob(pattern)):
        with file.open("rb") as stream:
            start = stream.read(200)
        if not start and file.suffix in (".safetensors", ".json", ".model"):
            raise SourceError(f"model {what}: {file.name} is empty, as after a copy that was broken off: copy it again")
        lowered = start.lstrip().lower()
        for mark, problem in _STAND_INS.items():
            if lowered.startswith(mark):
                raise SourceError(f"model {what}: {file.name} {problem}")
        if file.suffix == ".json":
            read_settings(file, what)
    if not any(True for pattern in _TOKENIZERS for _ in folder.glob(pattern)):
        raise SourceError(
            f"model {what} has no tokenizer (none of {', '.join(_TOKENIZERS)}): copy its files from the repository that"
            " the weights are from"
        )


def read_settings(file: Path, what: str) -> Any:
    """Return the value of a JSON file. Raises SourceError that says where it is broken."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except ValueError as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    raise SourceError(f"model {what}: {file.name} is not JSON that can be read ({reason}): take the file again")


def weight_files(folder: Path, what: str) -> list[Path]:
    """Return the files that hold a model's weights: one, or those that the index names.

    Raises SourceError where the index names files that are missing, and for shards without an index.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if not (folder / INDEX).exists():
        held = ", ".join(sorted(file.name for file in folder.glob("*.safetensors"))[:3])
        raise SourceError(
            f"model {what}: the weights are in neither {WEIGHTS} nor files that {INDEX} names (there is {held}): copy"
            f" {INDEX} too where the model has several files, else rename the one to {WEIGHTS}"
        )
    index = read_settings(folder / INDEX, what)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise SourceError(f"model {what}: {INDEX} has no weight_map from tensors to files: take the file again")
    named = sorted(set(places.values()))
    missing = [name for name in named if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise SourceError(
            f"model {what}: {', '.join(missing[:3])} is missing, of the {len(named)} files that {INDEX} names: download"
            " the model again, or copy the file there"
        )
    return [folder / name for name in named]


def indexed(folder: Path, file: Path, what: str) -> set[str]:
    """Return the tensors that a file has to hold by the index; none where there is no index."""
    if file.name == WEIGHTS:
        return set()
    places = read_settings(folder / INDEX, what)["weight_map"]
    return {tensor for tensor, name in places.items() if name == file.name}
