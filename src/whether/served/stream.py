"""An answer that came as a stream of server-sent events, put together into the one that comes without."""

import json
from typing import Any

_DONE = "[DONE]"


def is_stream(kind: str, text: str) -> bool:
    """Return whether a response's content type, or its beginning, is that of a stream."""
    return kind.startswith("text/event-stream") or text.lstrip().startswith("data:")


def join_stream(text: str) -> dict[str, Any]:
    """Return the chat completion that the chunks add up to, or the {"error": ...} that is among them.

    Raises ValueError for a stream that ends before its answer does, and for an event that is not JSON.
    """
    whole: dict[str, Any] = {}
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"message": message, "finish_reason": None}
    ended = False
    for event in _events(text):
        if event == _DONE:
            ended = True
            break
        chunk = json.loads(event)
        if not isinstance(chunk, dict):
            raise ValueError("an event of the stream is not an object")
        if chunk.get("error"):
            return chunk
        whole |= {key: chunk[key] for key in ("id", "model", "usage") if chunk.get(key)}
        for found in chunk.get("choices") or []:
            _add(message, found.get("delta") or found.get("message") or {})
            choice["finish_reason"] = found.get("finish_reason") or choice["finish_reason"]
    if not ended and choice["finish_reason"] is None:
        raise ValueError("the stream ends before its answer does")
    return whole | {"choices": [choice]}


def _events(text: str) -> list[str]:
    """Return the data of each event; comments, with which servers keep a connection open, are left out."""
    events: list[list[str]] = [[]]
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line:
            events.append([])
        elif line.startswith("data:"):
            events[-1].append(line.removeprefix("data:").removeprefix(" "))
    return ["\n".join(lines).strip() for lines in events if lines]


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a piece to a message: texts and lists grow, anything else is what came last."""
    for key, value in delta.items():
        if isinstance(value, (str, list)) and isinstance(message.get(key), type(value)) and key != "role":
            message[key] = message[key] + value
        elif value is not None:
            message[key] = value
