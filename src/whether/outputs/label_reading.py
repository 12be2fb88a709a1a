"""Which of a task's labels an output gives, if it gives one.

The output is taken apart: a name or the beginning of a sentence, the label, an explanation. It is read only if nothing
else is left, and if no other label is named where an answer would stand.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from whether.outputs.json_reading import Document, documents, label_values
from whether.outputs.label_names import LabelNames, Mentions, Named
from whether.outputs.marks import ascii_punctuation, without_line_mark, without_markup
from whether.outputs.phrases import NEGATION, after_article, after_prefix, before_noun, is_explanation
from whether.outputs.reading import NO_ANSWER, Reading, cleaned, in_order

_MOST_TEXT, _MOST_LINES, _MOST_CUTS, _OPTION = 4000, 40, 12, 3
_QUOTES, _ENDS, _WRAPS = " \t\"'", " \t.,;:!?\"'", " \t\"'()[]{}<>|"
_CUT = re.compile(
    r"\s+(?:--?|[–—])\s+(?=\S)|\s+(?=(?:because|since|due to)\b)|\s*—\s*|\s*\(|[:;]\s+|,\s+|\.+\s+|!\s+|\)\s+"
)
_UNCHECKED = re.compile(r"\W*\[\s*\]")
_INTRODUCES = re.compile(r".*:\s*\Z|\w+(?: \w+)?[!.]\s*\Z")
_TAG = re.compile(
    r"<((?:final_)?(?:answer|label|category|class|output|response|result|intent))>\s*(.*?)\s*(?:</\1>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
Steps = tuple[str, ...]
_STEPS: Steps = ("markup", "punctuation")
_DO = {"markup": without_markup, "punctuation": ascii_punctuation}


class _Head(NamedTuple):
    """A label at the beginning of a line."""

    label: str
    leniencies: tuple[str, ...]
    tail: str
    """What follows: signs alone, or an explanation."""

    @property
    def alone(self) -> bool:
        """Whether only signs follow."""
        return "explanation" not in self.leniencies

    def plus(self, *leniencies: str) -> "_Head":
        """Return it with further leniencies."""
        return self._replace(leniencies=(*self.leniencies, *leniencies))


class LabelReader:
    """Reads outputs of a task with labels. `parse` is the task's strict rule."""

    def __init__(self, labels: Sequence[str], parse: Callable[[str], str | None]):
        self._parse, self._labels = parse, labels
        self._lines: dict[Steps, _LineReader] = {}

    def read(self, output: str) -> Reading:
        """Return the label that an output gives, by the strict rule if that reads it."""
        exact = self._parse(output)
        if exact is not None:
            return Reading(exact)
        text, used = cleaned(output)
        found = self._read_clean(text, in_tag=False)
        return Reading(found.label, in_order([*used, *found.leniencies])) if found else NO_ANSWER

    def _read_clean(self, text: str, *, in_tag: bool) -> Named | None:
        exact = self._parse(text)
        if exact is not None:
            return Named(exact, ())
        contents = {found[2] for found in _TAG.finditer(text)} if "<" in text and not in_tag else set()
        if contents:
            inside = self._read_clean(contents.pop(), in_tag=True) if len(contents) == 1 else None
            return inside and Named(inside.label, ("tag", *inside.leniencies))
        return self._in_json(text) or self._in_words(text[:_MOST_TEXT])

    def _in_json(self, text: str) -> Named | None:
        """Return the only label among the JSON documents of a text, if the text around them takes none back."""
        found = documents(text) if "{" in text or "[" in text else []
        if text.lstrip()[:1] == '"':
            found = [Document(text.strip(), "", "")]
        elif not found and '"' not in text and text.strip()[:1] == "{":
            found = [Document(text.strip().replace("'", '"'), "", "")]  # as Python writes it
        named: dict[str, Named] = {}
        for one in found:
            try:
                values = label_values(json.loads(one.text)) or []
            except (ValueError, RecursionError):
                continue
            read = self._reader(_STEPS)
            named |= {known.label: known for value in values if (known := read.whole(value))}
        if len(named) != 1:
            return None
        [known] = named.values()
        around = f"{found[0].before}\n{found[-1].after}"
        if NEGATION.search(found[0].before) or self._mentions.others(around, known.label):
            return None
        return Named(known.label, ("json", *known.leniencies))

    def _in_words(self, text: str) -> Named | None:
        """Return the label that a text gives in words, and those steps of which it cannot be read without."""
        found = self._reader(_STEPS).read(text)
        if found is None:
            return None
        needed = _STEPS
        for step in _STEPS:
            fewer = tuple(name for name in needed if name != step)
            without = self._reader(fewer).read(text)
            if without and without.label == found.label:
                found, needed = without, fewer
        return Named(found.label, (*needed, *found.leniencies))

    @cached_property
    def _mentions(self) -> Mentions:
        return Mentions(self._labels)

    def _reader(self, steps: Steps) -> "_LineReader":
        if steps not in self._lines:
            self._lines[steps] = _LineReader(self._labels, self._mentions, steps)
        return self._lines[steps]


class _LineReader:
    """Reads words, line by line, with some of the steps that take signs off."""

    def __init__(self, labels: Sequence[str], mentions: Mentions, steps: Steps):
        self._steps, self._mentions = steps, mentions
        self._names = LabelNames(labels, self._prepare)

    def _prepare(self, text: str) -> str:
        for step in self._steps:
            text = _DO[step](text)
        return text

    def read(self, text: str) -> _Head | None:
        """Return the label that the first line gives, or that the last one names as the answer."""
        lines = [line.strip() for line in self._prepare(text).split("\n") if line.strip()][:_MOST_LINES]
        if not lines:
            return None
        head, rest = self._head(lines[0]), lines[1:]
        if head is None and rest and _INTRODUCES.match(lines[0]):
            head, rest = self._head(f"{lines[0]} {lines[1]}"), lines[2:]
        if head is not None:
            return head if self._stands(head, rest) else None
        last = self._head(lines[-1]) if rest else None
        if last is None or not last.alone or "prefix" not in last.leniencies:
            return None
        return last.plus("explanation") if self._stands(last, lines[:-1]) else None

    def _stands(self, head: _Head, others: Sequence[str]) -> bool:
        """Return whether no other line gives another label, or takes back what the head asks or begins to list."""
        rest = " ".join(others)
        if head.alone and rest and ("?" in head.tail or (":" in head.tail and not is_explanation(":", rest))):
            return False
        if not self._mentions.others(rest, head.label):
            return True
        given = (self._head(line) for line in others)
        return all(one is None or one.label == head.label for one in given)

    def _head(self, line: str) -> _Head | None:
        """Return the label that a line begins with, after a list mark and a name or the beginning of a sentence."""
        left, used = line.strip(), tuple[str, ...]()
        for _ in range(4):
            if found := self._label(left, "prefix" in used):
                outside = line[: len(line) - len(left)]
                return None if self._mentions.others(outside, found.label) else found.plus(*used)
            unmarked = without_line_mark(left) if "markup" in self._steps else left
            after = after_prefix(left)
            if unmarked != left:
                left, used = unmarked, (*used, "markup")
            elif after is not None:
                left, used = after.strip(), (*used, "prefix")
            else:
                return None
        return None

    def _label(self, text: str, prefixed: bool) -> _Head | None:
        """Return the label that a text begins with, if what follows is nothing or an explanation."""
        if _UNCHECKED.match(text):
            return None
        bare = after_article(text) if prefixed else text
        for start in dict.fromkeys([text, bare, before_noun(text), before_noun(bare)]) if prefixed else [text]:
            if known := self.whole(start):
                tail = start[len(start.rstrip(_ENDS)) :]
                return None if prefixed and "?" in tail else _Head(known.label, known.leniencies, tail)
            for left, separator, rest in _cuts(start):
                if known := self.whole(left):
                    stands = separator != ")" or len(known.label) <= _OPTION
                    stands = stands and is_explanation(separator, rest) and not self._mentions.others(rest, known.label)
                    return _Head(known.label, (*known.leniencies, "explanation"), rest) if stands else None
        return None

    def whole(self, text: str) -> Named | None:
        """Return the label that a text is, signs around it left out."""
        quoted = text.strip(_QUOTES).rstrip(_ENDS)
        found = self._names.find(text) or self._names.find(quoted)
        if found or "markup" not in self._steps:
            return found
        bare = self._names.find(quoted.lstrip(_WRAPS).rstrip(_WRAPS + _ENDS))
        return bare and Named(bare.label, ("markup", *bare.leniencies))


def _cuts(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield what stands before a separator, the separator and what follows, the longest beginning first."""
    for found in reversed(list(islice(_CUT.finditer(text), _MOST_CUTS))):
        yield text[: found.start()], found[0].strip()[:1], text[found.end() :]
