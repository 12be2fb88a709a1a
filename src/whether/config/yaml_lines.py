"""Where in a YAML file a value is, and where it is not YAML."""

from collections.abc import Sequence
from pathlib import Path

import yaml


def line_of(file: Path, path: Sequence[str]) -> int | None:
    """Return the line on which the text of the value at a path of keys begins, from 1; None where it is not there.

    For a block (`|`) that is the line after its key.
    """
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    for key in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    if node is None:
        return None
    return int(node.start_mark.line) + (2 if getattr(node, "style", None) in ("|", ">") else 1)


def yaml_fault(error: yaml.YAMLError, file: Path | str = "") -> str:
    """Return in one line which file is not YAML, on which line, and why. `file`: where the error does not know it."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return f"{file} is not YAML: {' '.join(str(error).split())}"
    name, line = Path(file or mark.name), mark.line + 1
    shown = name.relative_to(Path.cwd()) if name.is_relative_to(Path.cwd()) else name
    start = error.context_mark.line + 1 if error.context_mark else line
    begun = f" ({error.context} that begins in line {start})" if start != line else ""
    return f"{shown}, line {line}, is not YAML: {error.problem or error.context}{begun}"
