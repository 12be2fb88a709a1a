"""A stratified sample and stratified splits that depend on the examples and the seed, not on the order of rows.

Each example has a rank, the hash of the seed and its id. A sample takes the lowest ranks of each label; the splits
share out each label's examples in that order. So rows that are added later move few of the others to another split.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple
from itertools import pairwise

from whether.config import SplitConfig
from whether.errors import DataError
from whether.prepare.rows import SourceRow
from whether.records import Example, Split

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
SMALLEST = 2
"""Examples that each split has at least: one is not a measurement."""


def draw_sample(rows: Sequence[SourceRow], most: int | None, seed: int, labels: Sequence[str]) -> list[SourceRow]:
    """Return at most `most` rows in their order, each label in proportion and at least once for each split.

    Raises DataError where there are too few for that.
    """
    require_enough([row.example for row in rows], labels)
    if most is None or len(rows) <= most:
        return list(rows)
    strata = _strata([row.example for row in rows], seed, labels)
    minimum = _minimum(labels)
    if most < minimum * len(strata):
        raise DataError(f"task.max_rows={most} is too small: {len(strata)} labels need {minimum} rows each")
    counts = apportion(most, [len(stratum) for stratum in strata], minimum)
    chosen = {example.id for stratum, count in zip(strata, counts, strict=True) for example in stratum[:count]}
    return [row for row in rows if row.example.id in chosen]


def split(
    examples: Sequence[Example], shares: SplitConfig, seed: int, labels: Sequence[str]
) -> dict[Split, list[Example]]:
    """Share examples out, each label on its own, in their order within each split.

    Every split gets at least one example of every label, and at least two in all. Raises DataError where there are too
    few for that. `labels` is empty for tasks that are not stratified. Groups are kept together: then they are what is
    shared out, each by its most frequent label.
    """
    require_enough(examples, labels)
    if any(example.group is not None for example in examples):
        return _split_groups(examples, shares, seed, labels)
    where = _allocate(_strata(examples, seed, labels), shares, _minimum(labels) // len(SPLITS))
    return {name: [example for example in examples if where[example.id] == name] for name in SPLITS}


def _allocate(strata: Sequence[Sequence[Example]], shares: SplitConfig, minimum: int) -> dict[str, Split]:
    """Return id → split."""
    where: dict[str, Split] = {}
    for stratum in strata:
        sizes = apportion(len(stratum), astuple(shares), minimum)
        edges = [sum(sizes[:end]) for end in range(len(sizes) + 1)]
        for name, (start, end) in zip(SPLITS, pairwise(edges), strict=True):
            where.update((example.id, name) for example in stratum[start:end])
    return where


def _split_groups(
    examples: Sequence[Example], shares: SplitConfig, seed: int, labels: Sequence[str]
) -> dict[Split, list[Example]]:
    members: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        members[str(example.group)].append(example)
    if len(members) < SMALLEST * len(SPLITS):
        raise DataError(
            f"task.group: the rows belong to {len(members)} groups, and train, dev and test need {SMALLEST} each: leave"
            " task.group out if rows are independent, or add rows of other groups"
        )
    stand_ins = []
    for group, rows in members.items():
        frequent = min(Counter(row.target for row in rows).items(), key=lambda item: (-item[1], item[0]))[0]
        stand_ins.append(Example(group, {}, frequent))
    where = _allocate(_strata(stand_ins, seed, labels), shares, 0)
    found = {name: [example for example in examples if where[str(example.group)] == name] for name in SPLITS}
    for name, rows in found.items():
        missing = sorted(set(labels) - {row.target for row in rows})
        if missing or len(rows) < SMALLEST:
            raise DataError(
                f"task.group: with groups kept together {name} has {len(rows)} examples"
                + (f" and none of {', '.join(missing)}" if missing else "")
                + ": add rows of other groups, try another seed, or leave out task.group"
            )
    return found


def apportion(total: int, weights: Sequence[float], minimum: int) -> list[int]:
    """Divide `total` by weights into whole numbers of at least `minimum` (largest remainders, Hamilton's method)."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [max(minimum, math.floor(share)) for share in exact]
    while sum(counts) < total:
        counts[max(range(len(counts)), key=lambda index: exact[index] - counts[index])] += 1
    while sum(counts) > total:
        above = [index for index, count in enumerate(counts) if count > minimum]
        counts[max(above, key=lambda index: counts[index] - exact[index])] -= 1
    return counts


def require_enough(examples: Sequence[Example], labels: Sequence[str]) -> None:
    """Raise DataError where the examples cannot fill three splits."""
    minimum = _minimum(labels)
    if not labels and len(examples) < minimum:
        raise DataError(
            f"{len(examples)} examples are left after cleaning, and train, dev and test need {SMALLEST} each: add"
            " rows, or drop fewer as near duplicates (task.near_duplicate)"
        )
    counts = {label: sum(example.target == label for example in examples) for label in labels}
    rare = [f"{label!r} has {count}" for label, count in counts.items() if count < minimum]
    if rare:
        raise DataError(
            f"each label needs {minimum} examples after cleaning, one for each split: {', '.join(rare)}. Add rows, or"
            " take the label out of the data and task.labels"
        )


def _minimum(labels: Sequence[str]) -> int:
    """Examples that a stratum needs: of a label, one for each split; without labels, two."""
    return len(SPLITS) if labels else SMALLEST * len(SPLITS)


def _strata(examples: Sequence[Example], seed: int, labels: Sequence[str]) -> list[list[Example]]:
    """Group examples by label, if there are labels, and order each group by rank."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.target if labels else ""].append(example)
    return [sorted(groups[key], key=lambda example: _rank(example, seed)) for key in sorted(groups)]


def _rank(example: Example, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{example.id}".encode()).hexdigest()
