"""Cells that are chats: lists of turns with `role` and `content` (OpenAI, Anthropic), or `from` and `value` (ShareGPT).

As an input a chat is what was said before its last answer; as a target it is that answer.
"""

from typing import Any, NamedTuple

ANSWERS = frozenset(["assistant", "gpt", "bot", "chatgpt", "model", "bard", "ai", "output"])
SYSTEM = frozenset(["system", "developer"])


class Turn(NamedTuple):
    """A turn of a chat."""

    role: str
    text: str


def is_chat(cell: object) -> bool:
    """Return whether a cell is a list of turns."""
    return isinstance(cell, list) and bool(cell) and all(_is_turn(turn) for turn in cell)


def chat_input(cell: list[Any]) -> str:
    """Return what was said before the last answer, without system turns: the text of one turn, or a line for each.

    Raises ValueError for a turn that is not text.
    """
    turns = _turns(cell)
    asked = [turn for turn in (turns[:-1] if _answers(turns) else turns) if turn.role not in SYSTEM]
    if len(asked) == 1:
        return asked[0].text
    return "\n".join(f"{turn.role}: {turn.text}" for turn in asked)


def chat_target(cell: list[Any]) -> str:
    """Return the last answer, empty where the chat ends before it. Raises ValueError for a turn that is not text."""
    turns = _turns(cell)
    return turns[-1].text if _answers(turns) else ""


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and (("role" in turn and "content" in turn) or ("from" in turn and "value" in turn))


def _answers(turns: list[Turn]) -> bool:
    return bool(turns) and turns[-1].role in ANSWERS


def _turns(cell: list[dict[str, Any]]) -> list[Turn]:
    return [_turn(turn) for turn in cell]


def _turn(turn: dict[str, Any]) -> Turn:
    role = str(turn["role"] if "role" in turn else turn["from"])
    content = turn["content"] if "content" in turn else turn["value"]
    if content is None and (turn.get("tool_calls") or turn.get("function_call")):
        raise ValueError(f"a turn of the {role} calls tools, and a text was expected")
    parts = content if isinstance(content, list) else [content]
    return Turn(role, "".join(_part(part, role) for part in parts))


def _part(part: object, role: str) -> str:
    if part is None:
        return ""
    text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
    if not isinstance(text, str):
        kind = part.get("type", "object") if isinstance(part, dict) else type(part).__name__
        raise ValueError(f"a turn of the {role} holds a part of the type {kind!r}, and text was expected")
    return text
