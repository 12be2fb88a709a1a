"""A cell as text: the same for every format, by its value."""

import json
import math
from typing import Any, Literal

from whether.records.values import SURROGATE
from whether.sources.tables.chats import chat_input, chat_target, is_chat

Use = Literal["input", "target"]


def cell_text(value: Any, column: str, use: Use = "input") -> str:
    """Return a cell as text; empty where it is missing. Numbers and booleans are as JSON writes them.

    Raises ValueError, which names the column, for a cell that has no text: a list that is not a chat, an object, bytes
    that are not UTF-8, an infinite number, half of a character.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return require_text(value, f"column {column!r}")
    if is_chat(value):
        try:
            return require_text(chat_target(value) if use == "target" else chat_input(value), f"column {column!r}")
        except ValueError as error:
            raise ValueError(f"column {column!r} holds a chat: {error}") from None
    if isinstance(value, (dict, list)):
        raise ValueError(f"column {column!r} holds a {type(value).__name__}, and text was expected")
    if isinstance(value, bytes):
        raise ValueError(f"column {column!r} holds bytes that are not UTF-8, and text was expected")
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"column {column!r} holds an infinite number")
    return json.dumps(value)


def require_text(text: str, where: str) -> str:
    """Return a text. Raises ValueError, which begins with `where`, for half of a character."""
    found = None if text.isascii() else SURROGATE.search(text)
    if found is None:
        return text
    raise ValueError(
        f"{where} holds half of a character at place {found.start() + 1} (the surrogate U+{ord(found[0]):04X}), as a"
        " text that was cut has it"
    )
