"""Untrusted values in Markdown: as text, as code, and as settings without this machine's paths."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whether.printing.terminal import printable

_MOST_LABELS = 50


def escaped(value: object) -> str:
    """Return a value as text in one line that has no meaning in Markdown, HTML or a table.

    An underscore within a word has none there either, and stays: `base-zero_shot` can be read.
    """
    text = printable(" ".join(str(value).split()))
    return re.sub(r"([\\`*{}\[\]<>#|~&!$@]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)


def code(value: object) -> str:
    """Return a value as code in one line, also within a table; backticks in it cannot end it."""
    text = printable(" ".join(str(value).split())).replace("|", "\\|") or " "
    fence = "`" * (1 + _longest_run(text))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def fenced(text: str, language: str = "") -> str:
    """Return a block of code; backticks in it cannot end it."""
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"


def literal(text: str) -> str:
    """Return a text as a literal of Python, on one line."""
    return json.dumps(text, ensure_ascii=False)


def shortened(labels: Sequence[str]) -> str:
    """Return labels as code, separated by commas; of very many, the first and how many more there are."""
    shown = ", ".join(code(label) for label in labels[:_MOST_LABELS])
    more = len(labels) - _MOST_LABELS
    return f"{shown} and {more} more" if more > 0 else shown


def without_paths(value: Any) -> Any:
    """Return settings in which an absolute path is only its last part: the rest is about the machine and its user."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and "\n" not in value and (Path(value).is_absolute() or value.startswith("~")):
        return f"<folder>/{Path(value).name}"
    return value


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
