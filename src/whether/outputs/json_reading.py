"""JSON documents in an output, with text or a fence around them, and the label in one."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from whether.outputs.reading import NO_ANSWER, Reading, cleaned, in_order

_START = re.compile(r"[{\[]")
_EDGE = re.compile(r"[{}\[\]\"]")
_FENCED = re.compile(r"\A\s*```[\w+-]*\s*\n?(.*?)\n?\s*```\s*\Z", re.DOTALL)
_MOST_TEXT = 200_000
_OTHER_KEYS = re.compile(
    r"(?i)(?:not?|except|wrong|incorrect|alternatives?|others?|second|unlikely|possible|candidates?|options?)(?:[\W_]|\Z)"
    r"|exclu|reject|runner|impossible"
)
_ABOUT_KEYS = re.compile(
    r"(?i)(?:confidence|probability|certainty|reason|explanation|rationale|justification)|(?:id|index)\Z"
)


class Document(NamedTuple):
    """A JSON document, and what stands around it."""

    text: str
    before: str
    after: str


def documents(text: str) -> list[Document]:
    """Return the JSON objects and lists of a text that lie in no other one. One that is cut off ends the search."""
    return list(_documents(text[:_MOST_TEXT]))


def _documents(text: str) -> Iterator[Document]:
    decoder, place = json.JSONDecoder(), 0
    while found := _START.search(text, place):
        try:
            _, place = decoder.raw_decode(text, found.start())
            yield Document(text[found.start() : place], text[: found.start()], text[place:])
        except (ValueError, RecursionError):
            end = _closing(text, found.start())
            if end is None:
                return
            place = end


def _closing(text: str, start: int) -> int | None:
    """Return the place after the bracket that closes the one at `start`; None where it stays open."""
    depth = 0
    for found in _EDGE.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return None


def read_document(output: str, parse: Callable[[str], str | None]) -> Reading:
    """Return the one document in an output that a strict rule reads, whatever stands around it.

    Equal documents count as one; several that differ are no answer.
    """
    text, used = cleaned(output)
    exact = parse(text)
    if exact is not None:
        return Reading(exact, used)
    fenced = _FENCED.match(text)
    inside = fenced and parse(fenced[1])
    if inside:
        return Reading(inside, in_order([*used, "fence"]))
    found = {answer for one in documents(text) if (answer := parse(one.text)) is not None}
    around = "fence" if "```" in text else "surroundings"
    return Reading(found.pop(), in_order([*used, around])) if len(found) == 1 else NO_ANSWER


def label_values(value: Any) -> list[str] | None:
    """Return the texts that a JSON value may give as its label; None where it names none, or takes it back.

    That is a text, the only one of a list, or the values of an object whose keys do not say that they are not it.
    """
    if isinstance(value, bool) or value is None:
        return None if value is None else [json.dumps(value)]
    if isinstance(value, (str, int, float)):
        return [value if isinstance(value, str) else json.dumps(value)]
    if isinstance(value, list):
        return label_values(value[0]) if len(value) == 1 else None
    if isinstance(value, Mapping):
        if len(value) == 1 and _OTHER_KEYS.match(next(iter(value))):
            return None
        found = [label_values(item) for key, item in value.items() if not _ABOUT_KEYS.match(key)]
        return [one for each in found for one in each or ()]
    return None
