"""Where in a YAML file a value is, and where it is not YAML."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

_SETTING = re.compile(r"\s*(?:-\s+)?([\w.]+):\s+(\S.*?)\s*\Z")


def line_of(file: Path, path: Sequence[str]) -> int | None:
    """Return the line on which the text of the value at a path of keys begins, from 1; None where it is not there.

    For a block (`|`) that is the line after its key.
    """
    node = _node_at(file, path)
    if node is None:
        return None
    return int(node.start_mark.line) + (2 if getattr(node, "style", None) in ("|", ">") else 1)


class Scalar(NamedTuple):
    """A value, neither a list nor a mapping, as a file spells it."""

    text: str
    plain: bool
    """Whether it stands there without quotes."""


def scalars_at(file: Path, path: Sequence[str]) -> list[Scalar]:
    """Return the scalars at a path of keys as a file spells them: the value, those of a list, or a mapping's keys."""
    node = _node_at(file, path)
    if isinstance(node, yaml.SequenceNode):
        found = node.value
    elif isinstance(node, yaml.MappingNode):
        found = [name for name, _ in node.value]
    else:
        found = [] if node is None else [node]
    return [Scalar(one.value, one.style is None) for one in found if isinstance(one, yaml.ScalarNode)]


def _node_at(file: Path, path: Sequence[str]) -> yaml.Node | None:
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    for key in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    return node


def yaml_fault(error: yaml.YAMLError, file: Path | str = "") -> str:
    """Return in one line which file is not YAML, on which line, and why, with the quotes that a text in it may lack.

    `file`: where the error does not know it.
    """
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return f"{file} is not YAML: {' '.join(str(error).split())}"
    name, line = Path(file or mark.name), mark.line + 1
    shown = name.relative_to(Path.cwd()) if name.is_relative_to(Path.cwd()) else name
    start = error.context_mark.line + 1 if error.context_mark else line
    begun = f" ({error.context} that begins in line {start})" if start != line else ""
    why = error.problem or error.context or ""
    return f"{shown}, line {line}, is not YAML: {why}{begun}{quotes_of_line(name, line)}"


def quotes_of_line(file: Path, line: int) -> str:
    """Return the clause about quotes for a line that is not YAML, if it holds a text without them."""
    try:
        found = _SETTING.match(file.read_text(encoding="utf-8").split("\n")[line - 1])
    except (OSError, UnicodeDecodeError, IndexError):
        return ""
    if not found or _is_yaml(f"key: {found[2]}"):
        return ""
    key, text = found[1], found[2]
    if text[0] in ("'", '"'):
        text = text[1:].removesuffix(text[0])
    return f": a text with signs of YAML in it needs quotes: {key}: {in_yaml(text)}"


def _is_yaml(text: str) -> bool:
    try:
        yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return True


def in_yaml(text: str) -> str:
    """Return a text in the quotes in which YAML and OmegaConf leave it as it is."""
    return json.dumps(without_references(text), ensure_ascii=False)


def without_references(text: str) -> str:
    """Return a text as OmegaConf reads it back, without taking `${` for the beginning of a reference."""
    return re.sub(r"(\\*)\$\{", lambda found: f"{2 * found[1]}\\${{", text)
