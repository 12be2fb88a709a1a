"""What is wrong with outputs that do not have the form asked for."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from whether.outputs.decoding import DecodingStrategy, ParsedOutput
from whether.outputs.json_output import json_violation
from whether.outputs.kinds import output_of
from whether.records import Adherence, Task, Violation

SHOWN = 5
"""Outputs shown of each kind."""


def adherence(task: Task, decoding: DecodingStrategy, replies: Sequence[ParsedOutput]) -> Adherence:
    """Return how often outputs broke the form in which way, the most frequent first, with the first outputs of each;
    and how many answers were read with which leniency."""
    found: dict[str, list[str]] = defaultdict(list)
    for reply in replies:
        if not reply.valid:
            found[violation(task, decoding, reply)].append(reply.generation.text)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    needed = Counter(name for reply in replies for name in reply.leniencies)
    violations = [Violation(kind, len(texts), texts[:SHOWN]) for kind, texts in ordered]
    return Adherence(len(replies), violations, dict(needed.most_common()))


def violation(task: Task, decoding: DecodingStrategy, reply: ParsedOutput) -> str:
    """Return in a few words what is wrong with an output that does not have the form asked for."""
    text = reply.generation.text
    cut = "" if reply.generation.finished else ", cut at the most new tokens"
    if not text.strip():
        thought = reply.generation.thinking or reply.generation.thinking_tokens
        return "cut off while thinking, before an answer" if cut and thought else f"empty{cut}"
    prefix = decoding.answer_prefix
    if prefix is not None and prefix not in text:
        return f"{prefix!r} is missing{cut}"
    kind = output_of(task)
    found = kind.violation(text) if decoding.schema is None else json_violation(text, decoding.schema)
    return f"{found}{cut}"
