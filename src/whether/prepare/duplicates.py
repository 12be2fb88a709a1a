"""Inputs that are there twice, exactly or nearly: one of them would give away the other's answer across splits."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from whether.prepare.rows import SourceRow

BLOCK = 1024
"""Rows compared at once; memory is BLOCK × rows bytes at most."""


class Dropped(NamedTuple):
    """A row that resembles an earlier one."""

    row: SourceRow
    kept: SourceRow

    @property
    def conflict(self) -> bool:
        """Whether the two disagree about the answer."""
        return self.row.example.target != self.kept.example.target


class Distinct(NamedTuple):
    """What is left, in the order of the file, and what was dropped."""

    kept: list[SourceRow]
    dropped: list[Dropped]


def normalised(row: SourceRow) -> str:
    """Return a row's inputs as they are compared: case and runs of white space do not count."""
    return "\n".join(" ".join(text.casefold().split()) for text in row.example.inputs.values())


def drop_duplicates(rows: Sequence[SourceRow]) -> Distinct:
    """Keep the first of all rows with equal normalised inputs."""
    first: dict[str, SourceRow] = {}
    dropped = [Dropped(row, kept) for row in rows if (kept := first.setdefault(normalised(row), row)) is not row]
    return Distinct(list(first.values()), dropped)


def drop_near_duplicates(rows: Sequence[SourceRow], threshold: float) -> Distinct:
    """Keep a row if it is less similar than `threshold` to every row kept before it, so that no two kept ones are.

    Similarity is rapidfuzz's token-sort ratio / 100 of the normalised inputs: 1 minus the share of characters that an
    edit by insertions and deletions touches, with words sorted. Quadratic in the number of rows, with memory for one
    block; two texts whose lengths alone rule the similarity out are not compared. At 1.0 nothing is dropped: equal
    inputs are gone already, and the same words in another order are not equal.
    """
    if threshold == 1:
        return Distinct(list(rows), [])
    texts = [" ".join(sorted(normalised(row).split())) for row in rows]
    kept: list[int] = []  # by length of text
    resembled: dict[int, int] = {}
    for start in range(0, len(rows), BLOCK):
        block = range(start, min(start + BLOCK, len(rows)))
        resembled |= _near_duplicates_kept(sorted(block, key=lambda index: len(texts[index])), kept, texts, threshold)
        fresh = [index for index in block if index not in resembled]
        resembled |= _near_duplicates_earlier(fresh, texts, threshold)
        kept = sorted([*kept, *(index for index in fresh if index not in resembled)], key=lambda i: len(texts[i]))
    return Distinct(
        [row for index, row in enumerate(rows) if index not in resembled],
        [Dropped(rows[index], rows[other]) for index, other in sorted(resembled.items())],
    )


def _near_duplicates_kept(
    block: Sequence[int], kept: Sequence[int], texts: Sequence[str], threshold: float
) -> dict[int, int]:
    """Return index → most similar kept index, for what is too similar. Both sequences go by length of text."""
    lengths = [len(texts[index]) for index in kept]
    # A difference in length alone costs similarity: |a - b| / (a + b) of it.
    reach = (2 - threshold) / threshold
    found = {}
    for start in range(0, len(block), 64):
        part = block[start : start + 64]
        low = bisect_left(lengths, math.floor(len(texts[part[0]]) / reach))
        window = kept[low : bisect_right(lengths, math.ceil(len(texts[part[-1]]) * reach))]
        if not window:
            continue
        similarity = _similarity([texts[index] for index in part], [texts[index] for index in window], threshold)
        best = similarity.argmax(axis=1)
        for position, index in enumerate(part):
            if similarity[position, best[position]] > 0:
                found[index] = window[best[position]]
    return found


def _near_duplicates_earlier(indices: Sequence[int], texts: Sequence[str], threshold: float) -> dict[int, int]:
    """Return index → earlier index that stays, for what is too similar among `indices` themselves."""
    selected = [texts[index] for index in indices]
    similar = _similarity(selected, selected, threshold) > 0
    found: dict[int, int] = {}
    stays = np.zeros(len(indices), dtype=bool)
    for position, index in enumerate(indices):
        matches = np.flatnonzero(similar[position] & stays)
        if len(matches):
            found[index] = indices[int(matches[0])]
        else:
            stays[position] = True
    return found


def _similarity(
    queries: list[str], choices: list[str], threshold: float
) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return similarities, [len(queries), len(choices)]; 0 below the threshold."""
    from rapidfuzz import fuzz, process

    return process.cdist(
        queries, choices, scorer=fuzz.ratio, score_cutoff=threshold * 100, dtype=np.float32, workers=-1
    )
