"""When a model that answers with labels has collapsed: it gives one answer to nearly everything."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

COLLAPSED = 0.95
"""Share of examples with one and the same answer from which on a model may have collapsed."""


class FrequentAnswer(NamedTuple):
    """The answer that is given most often."""

    answer: str | None
    """None: an output without an answer in it."""
    share: float
    """Of the examples, in [0, 1]."""
    collapsed: bool


def frequent_answer(given: Sequence[str | None], right: Sequence[str]) -> FrequentAnswer:
    """Return the answer that is given most often, of several the first, and whether it says that a model has collapsed.

    That is so where it is given to `COLLAPSED` of the examples or more, and other answers are given less than half as
    often as they are right. `given` and `right` have an answer for each example, at least one.
    """
    answer, count = Counter(given).most_common(1)[0]
    others = sum(label != answer for label in right)
    share = count / len(given)
    return FrequentAnswer(
        answer, share, answer is not None and share >= COLLAPSED and 2 * (len(given) - count) < others
    )
