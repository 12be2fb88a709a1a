"""Texts that YAML, Hydra or the shell take for something else, and the quotes that keep them as they are."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from whether.config.yaml_lines import in_yaml, line_of, scalars_at, without_references


def in_hydra(text: str) -> str:
    """Return a text in the quotes in which Hydra's overrides leave it as it is."""
    kept = without_references(text)
    escaped = re.sub(r'(\\*)("|\Z)', lambda found: 2 * found[1] + found[2].replace('"', r"\""), kept)
    return f'"{escaped}"'


def on_command_line(path: str, value: str | Sequence[str]) -> str:
    """Return an override of a text, or of a list of texts, as it is typed in a shell."""
    items = in_hydra(value) if isinstance(value, str) else f"[{','.join(map(in_hydra, value))}]"
    return shlex.quote(f"{path}={items}")


def quotes_of_override(override: str) -> str:
    """Return the sentence about quotes for an override that Hydra cannot read."""
    path, _, value = override.partition("=")
    if re.fullmatch(r"\[.*\]?", value, re.DOTALL):
        items = [item.strip(" \"'") for item in value.strip("[]").split(",")]
        return f"texts in it need quotes within quotes: {on_command_line(path, items)}"
    text = value.strip("\"'") if value[:1] in ("'", '"') else value
    return (
        f"a text with signs that Hydra reads as its own needs quotes within quotes: {on_command_line(path, text)}; in a"
        f" YAML file, {path.rpartition('.')[2]}: {in_yaml(text)}"
    )


def reference_fault(error: BaseException, composed: Any, conf: Path) -> str:
    """Return the line for a text that OmegaConf takes for a reference to another setting, which it is not.

    `composed` are the settings, or None where they could not be read: then the text is looked for in the files.
    """
    reason = str(error).strip().splitlines()[0]
    found = _broken_references(composed) if composed is not None else _unreadable_references(conf)
    path, text, file = next(found, ("conf/", "${…}", None))
    key, place = path.rpartition(".")[2], f"{path} (in {file})" if file else path
    return (
        f"{place}: {text!r:.80} holds a reference to another setting, and {reason}. To keep ${{ as text put a backslash"
        f" before it: {key}: {in_yaml(text)} in a file, {on_command_line(path, text)} on the command line"
    )


def _broken_references(composed: Any) -> Iterator[tuple[str, str, Path | None]]:
    """Yield the path and the text of each reference that does not lead to a setting."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for path, text in _texts(OmegaConf.to_container(composed, resolve=False)):
        try:
            OmegaConf.select(composed, path)
        except OmegaConfBaseException:
            yield path, text, None


def _unreadable_references(conf: Path) -> Iterator[tuple[str, str, Path | None]]:
    """Yield the path, the text and the file of each reference in conf/ whose form OmegaConf cannot read."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for file in sorted(conf.rglob("*.yaml")):
        section = "" if file.parent == conf else f"{file.parent.name}."
        for path, text in _texts(yaml.safe_load(file.read_text(encoding="utf-8"))):
            try:
                OmegaConf.create({"text": text})
            except OmegaConfBaseException:
                yield f"{section}{path}", text, file


def _texts(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text that holds a reference, with its path."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _texts(value, f"{path}[{index}]")
    elif isinstance(node, str) and "${" in node:
        yield path, node


def needs_text(path: str, given: Mapping[tuple[str | int, ...], Any], files: Mapping[str, str]) -> str:
    """Return the line for values that YAML or Hydra took for other than text.

    `path` is the setting; `given` the wrong values by their place below it: (), an index, or a key twice.
    """
    parts = path.split(".")
    cut = next((cut for cut in range(len(parts), 0, -1) if ".".join(parts[:cut]) in files), 0)
    file, inside = files.get(".".join(parts[:cut]), ""), parts[cut:]
    written = scalars_at(Path(file), inside) if file and inside else []
    wrong = [one.text for one in written if one.plain and not isinstance(_read(one.text), str)]
    shown = ", ".join(map(_shown, given.values()))
    if len(wrong) == len(given):
        place = f"{path} (in {file}, line {line_of(Path(file), inside)})"
        said = f"YAML reads {', '.join(text or 'nothing' for text in wrong)} as {shown}, and a text is needed"
        texts = [one.text for one in written]
    else:
        place = f"{path} (in {file})" if file else path
        said = f"a text is needed, and {shown} is none" if len(given) == 1 else f"texts are needed, not {shown}"
        texts = [_shown(value) for value in given.values()]
    return f"{place}: {said}: put it in quotes: {_quoted(path, texts, max(map(len, given)))}"


def _quoted(path: str, texts: Sequence[str], depth: int) -> str:
    """Return how texts are written as the value (depth 0), as items (1) or as keys (2) of a setting."""
    key = path.rpartition(".")[2]
    if depth == 2:
        return f"{key}: {{{', '.join(f'{in_yaml(text)}: …' for text in texts)}}}"
    value = f"[{', '.join(map(in_yaml, texts))}]" if depth else in_yaml(texts[0])
    override = on_command_line(path, texts if depth else texts[0])
    return f"{key}: {value} in a file, {override} on the command line"


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)


def _read(text: str) -> Any:
    """Return what OmegaConf reads of a scalar without quotes."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return dict(OmegaConf.create(f"value: {text}"))["value"]
    except (OmegaConfBaseException, yaml.YAMLError):
        return text
