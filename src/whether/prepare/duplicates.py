"""Rows that are there twice, and rows that resemble each other: what is dropped, what is noise, what stays together.

Equal inputs with equal answers are one row, and one of them is kept. Equal inputs with different answers are all kept:
they are noise in the labels, which no model can get right. Inputs that are nearly the same are kept too, since one word
may be what the answer depends on; they form a group, so that none of them gives away another across splits.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from whether.prepare.clusters import Template, cluster, joined
from whether.prepare.rows import SourceRow
from whether.prepare.similar import Codes
from whether.records import sha256_json


class Dropped(NamedTuple):
    """A row that is left out because of another one."""

    row: SourceRow
    kept: SourceRow


class Distinct(NamedTuple):
    """What is left, in the order of the file, and what was dropped."""

    kept: list[SourceRow]
    """No two have the same id."""
    places: list[int]
    """Of these, among the rows that were given."""
    dropped: list[Dropped]


class NearDuplicates(NamedTuple):
    """Which of some rows resemble each other."""

    numbers: Codes
    """Of each row, the number of its cluster, shape (rows,)."""
    templates: list[Template]


def normalised(row: SourceRow) -> str:
    """Return a row's inputs as far as two have to agree to be equal: white space and Unicode forms do not count."""
    return "\n".join(_plain(text) for text in row.example.inputs.values())


def drop_duplicates(rows: Sequence[SourceRow], earlier: Sequence[SourceRow] = ()) -> Distinct:
    """Keep the first of all rows with equal inputs and equal answers, none that is among `earlier` ones already.

    Rows with the same inputs and different answers, which are both kept, get ids of inputs and answer.
    """
    first = {(normalised(row), row.example.target): row for row in reversed(earlier)}
    origins = [first.setdefault((normalised(row), row.example.target), row) for row in rows]
    places = [place for place, (row, origin) in enumerate(zip(rows, origins, strict=True)) if row is origin]
    dropped = [Dropped(row, origin) for row, origin in zip(rows, origins, strict=True) if row is not origin]
    seen = Counter(row.example.id for row in first.values())
    kept = [row if seen[row.example.id] == 1 else _with_own_id(row) for row in map(rows.__getitem__, places)]
    return Distinct(kept, places, dropped)


def contradictions(rows: Sequence[SourceRow]) -> list[list[SourceRow]]:
    """Return the rows of equal inputs that have different answers, a list for each input."""
    answers: defaultdict[str, list[SourceRow]] = defaultdict(list)
    for row in rows:
        answers[normalised(row)].append(row)
    return [found for found in answers.values() if len({row.example.target for row in found}) > 1]


def near_duplicates(rows: Sequence[SourceRow], threshold: float) -> NearDuplicates:
    """Return which rows belong together: at least `threshold` similar, directly or through others; at 1, equal ones.

    Similarity is rapidfuzz's token-sort ratio / 100 of the inputs in small letters: 1 minus the share of characters
    that an edit by insertions and deletions touches, with words sorted. `whether.prepare.clusters` says what becomes of
    a cluster that takes in too many rows.
    """
    equal = [normalised(row) for row in rows]
    if threshold == 1:
        return NearDuplicates(*cluster(equal, 1))
    found = cluster([" ".join(sorted(text.casefold().split())) for text in equal], threshold)
    return NearDuplicates(*found)


def with_groups(rows: Sequence[SourceRow], numbers: Sequence[object]) -> list[SourceRow]:
    """Return rows with the group of each: what its cluster and the task's own group join, None for a single row.

    `numbers` has the cluster of each.
    It has the name of the task's group, the first one by name where near-duplicates join several.
    """
    own = [row.example.group for row in rows]
    together = joined(len(rows), numbers, own)
    sizes = np.bincount(together, minlength=1)
    names: dict[int, str] = {}
    for number, row in zip(together.tolist(), rows, strict=True):
        if sizes[number] > 1 or row.example.group is not None:
            # A digit before the name puts those of the task first.
            name = f"1{row.example.id}" if row.example.group is None else f"0{row.example.group}"
            names[number] = min(name, names.get(number, name))
    return [
        _in_group(row, names[number]) if number in names else row
        for number, row in zip(together.tolist(), rows, strict=True)
    ]


def _in_group(row: SourceRow, name: str) -> SourceRow:
    group = name[1:] if name[0] == "0" else f"near-duplicates of {name[1:]}"
    return row._replace(example=replace(row.example, group=group))


def _with_own_id(row: SourceRow) -> SourceRow:
    example = row.example
    return row._replace(example=replace(example, id=sha256_json([example.inputs, example.target])[:12]))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
