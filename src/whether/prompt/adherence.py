"""What is wrong with outputs that have not the form asked for."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence

from whether.prompt.answering import DecodingStrategy, Reply
from whether.records import Adherence, Task, Violation

SHOWN = 5
"""Outputs shown of each kind."""


def adherence(task: Task, decoding: DecodingStrategy, replies: Sequence[Reply]) -> Adherence:
    """Return how often outputs broke the form in which way, the most frequent first, with the first outputs of each."""
    found: dict[str, list[str]] = defaultdict(list)
    for reply in replies:
        if reply.answer is None:
            found[violation(task, decoding, reply)].append(reply.generation.text)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return Adherence(len(replies), [Violation(kind, len(texts), texts[:SHOWN]) for kind, texts in ordered])


def violation(task: Task, decoding: DecodingStrategy, reply: Reply) -> str:
    """Return in a few words what is wrong with an output that was not understood."""
    text = reply.generation.text
    if not text.strip():
        return "empty"
    if decoding.after is not None and decoding.after not in text:
        return f"{decoding.after!r} is missing" + ("" if reply.generation.finished else ", cut at the most new tokens")
    cut = "" if reply.generation.finished else ", cut at the most new tokens"
    if decoding.schema is not None:
        return f"{_json_violation(text, decoding.schema)}{cut}"
    if task.output == "label":
        named = [label for label in task.labels if re.search(rf"(?i)(?<!\w){re.escape(label)}(?!\w)", text)]
        return f"{('no label', 'a label with text around it', 'several labels')[min(len(named), 2)]}{cut}"
    return f"answer_pattern not found{cut}" if task.answer_pattern else f"no answer{cut}"


def _json_violation(text: str, schema: dict[str, object]) -> str:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "JSON with text around it" if re.search(r"\{.*\}", text, re.DOTALL) else "not JSON"
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    if error is None:
        return "JSON that is not strict"
    return f"breaks the schema: {error.validator} at {error.json_path}"
