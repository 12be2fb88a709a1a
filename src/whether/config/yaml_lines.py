"""Where in a YAML file a value is."""

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
