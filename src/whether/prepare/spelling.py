"""How a label is spelled, and which spellings are most likely one label."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable

from whether.config import TaskConfig


def folded(label: str) -> str:
    """Return what is left of a label without case, white space around it and between words, and Unicode form.

    Characters that are not seen, such as a zero-width space, are left out; full-width letters become plain ones, and
    1.0 is 1.
    """
    text = "".join(letter for letter in label if unicodedata.category(letter) != "Cf")
    text = " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())
    return text.rstrip("0").removesuffix(".") if re.fullmatch(r"-?(0|[1-9]\d*)\.\d+", text, re.ASCII) else text


def variants(labels: Iterable[str]) -> list[list[str]]:
    """Return the labels that are variants of one another, a list for each, in their order."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys(labels):
        same[folded(label)].append(label)
    return [found for found in same.values() if len(found) > 1]


def known_spelling(task: TaskConfig) -> Callable[[str], str]:
    """Return what gives a label of the data the spelling that `task.labels` has, where the task asks for that."""
    if not task.normalise_labels or task.labels is None:
        return str
    known = {folded(label): label for label in task.labels}
    exact = frozenset(task.labels)

    def spell(text: str) -> str:
        return text if text.strip() in exact else known.get(folded(text), text)

    return spell


def shown(label: str) -> str:
    """Return a label as a message shows it, so that what is not seen is seen."""
    return repr(label) if label.isascii() else f"{label!r} ({label!a})"
