"""Labels by the ways in which they may be written."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

Write = Callable[[str], str]
_SHORT = 3
"""Labels of so few characters (yes, no, A, 10) are words of sentences too: they are named only between signs."""
_SEPARATORS = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")


class Named(NamedTuple):
    """A label, and the leniencies that it takes to know it."""

    label: str
    leniencies: tuple[str, ...]


class LabelNames:
    """The labels by how they may be written; what two labels share names neither.

    `prepare` is what was done to the outputs that are looked up, such as taking their Markdown off.
    """

    def __init__(self, labels: Sequence[str], prepare: Write = str):
        ways = _WAYS_OF_ANY_CASE if ignores_case(labels) else _WAYS
        self._tables = [(names, write, _table(labels, prepare, write)) for names, write in ways]
        self._loosest = _WAYS[-1][1]
        self._known = {self._loosest(prepare(label)) for label in labels}
        self._longest = 40 + 4 * max(map(len, labels), default=0)

    def find(self, text: str) -> Named | None:
        """Return the label that a text is."""
        if len(text) > self._longest or self._loosest(text) not in self._known:
            return None
        for names, write, table in self._tables:
            if label := table.get(write(text)):
                return Named(label, names)
        return None


def ignores_case(labels: Sequence[str]) -> bool:
    """Return whether labels stay different when case is ignored: then the form asked for leaves it free."""
    return len({label.lower() for label in labels}) == len(labels)


class Mentions:
    """Finds labels that are named in a text."""

    def __init__(self, labels: Sequence[str]):
        folded = [(_fold(label), label) for label in labels]
        self._longest_first = sorted(folded, key=lambda pair: -len(pair[0]))

    def others(self, text: str, own: str) -> bool:
        """Return whether a text names another label than `own`. A label within a longer one is not named by it."""
        folded = _fold(text)
        for name, label in self._longest_first:
            if name in folded:
                pattern = _mention(name)
                if label != own and pattern.search(folded):
                    return True
                folded = pattern.sub("\0", folded)
        return False


def _mention(name: str) -> "re.Pattern[str]":
    """Return what finds a name between signs or, if it is long enough to be no other word, between words."""
    begins, ends = name[:1].isalnum() and name[:1].isascii(), name[-1:].isalnum() and name[-1:].isascii()
    before, after = r"(?<![\w-])" if begins else "", r"(?![\w-])" if ends else ""
    if len(name) <= _SHORT and begins:
        before += r"(?:(?<=\A)|(?<=[^\w\s])|(?<=[^\w\s]\s)|(?<=\bor\s)|(?<=\band\s))"
        after += r"(?=\s*(?:\Z|[^\w\s]|(?:or|and)\b))"
    return re.compile(before + re.escape(name) + after)


def _table(labels: Sequence[str], prepare: Write, write: Write) -> dict[str, str]:
    found: dict[str, str] = {}
    shared = set()
    for label in labels:
        name = write(prepare(label))
        if found.setdefault(name, label) != label:
            shared.add(name)
    return {name: label for name, label in found.items() if name and name not in shared}


def _plain(text: str) -> str:
    return " ".join(text.split())


def _unicode(text: str) -> str:
    return _plain(text) if text.isascii() else unicodedata.normalize("NFKC", _plain(text))


def _case(text: str) -> str:
    return _plain(text).casefold()


def _fold(text: str) -> str:
    """Return a text in one letter case and one Unicode form: for `text.casefold()` may take it out of its form."""
    return _case(text) if text.isascii() else _unicode(_unicode(text).casefold())


def _separator(text: str) -> str:
    return _SEPARATORS.sub(" ", _fold(text))


_WAYS: tuple[tuple[tuple[str, ...], Write], ...] = (
    ((), _plain),
    (("unicode_form",), _unicode),
    (("letter_case",), _case),
    (("unicode_form", "letter_case"), _fold),
    (("word_separator",), lambda text: _SEPARATORS.sub(" ", _plain(text))),
    (("letter_case", "word_separator"), lambda text: _SEPARATORS.sub(" ", _case(text))),
    (("unicode_form", "letter_case", "word_separator"), _separator),
)
"""Leniencies, and how a name is written by them; the last is the loosest."""
_WAYS_OF_ANY_CASE: tuple[tuple[tuple[str, ...], Write], ...] = (
    ((), lambda text: _plain(text).lower()),
    (("unicode_form",), lambda text: _unicode(text).lower()),
    (("letter_case",), _case),
    (("unicode_form", "letter_case"), _fold),
    (("word_separator",), lambda text: _SEPARATORS.sub(" ", _plain(text).lower())),
    (("unicode_form", "letter_case", "word_separator"), _separator),
)
