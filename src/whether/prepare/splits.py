"""A stratified sample and stratified splits that depend on the examples and the seed, not on the order of rows.

Each example, and each group, has a rank, the hash of the seed and its id. A sample takes the lowest ranks of each
label; the splits share out each label's examples in that order. So rows that are added later move few of the others
to another split.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple
from itertools import accumulate, pairwise

from whether.config import SplitConfig
from whether.errors import DataError
from whether.prepare.gaps import SPLITS, Placed, fill_gaps
from whether.prepare.rows import SourceRow
from whether.records import Example, Split

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

    Every split gets at least one example of every label, and at least two in all. Groups are kept together: each goes,
    the largest first, to a split that is drawn by the room that is left there for the group's labels; examples without
    a group fill what is left then. Raises DataError where there are too few for that. `labels` is empty for tasks that
    are not stratified.
    """
    require_enough(examples, labels)
    alone = [example for example in examples if example.group is None]
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.group is not None:
            groups[example.group].append(example)
    _require_groups(len(groups) + len(alone))
    minimum = _minimum(labels) // len(SPLITS)
    room = {
        _stratum(stratum[0], labels): apportion(len(stratum), astuple(shares), minimum)
        for stratum in _strata(examples, seed, labels)
    }
    order = sorted(groups, key=lambda name: (-len(groups[name]), _rank(name, seed)))
    placed = [Placed(groups[name], _place_group(groups[name], room, labels, _draw(name, seed))) for name in order]
    for stratum in _strata(alone, seed, labels):
        placed += _fill(stratum, room[_stratum(stratum[0], labels)])
    fill_gaps(placed, labels, minimum)
    where = {example.id: SPLITS[unit.split] for unit in placed for example in unit.rows}
    return {name: [example for example in examples if where[example.id] == name] for name in SPLITS}


def _place_group(rows: Sequence[Example], room: dict[str, list[int]], labels: Sequence[str], draw: float) -> int:
    """Return the split that a group goes to, and take the room that it needs there.

    It is drawn among the splits that have room for all of the group, by how much; else it is the one that the group
    exceeds least.
    """
    counts = Counter(_stratum(row, labels) for row in rows)
    excess = [sum(max(0, n - room[label][place]) for label, n in counts.items()) for place in range(len(SPLITS))]
    weights = [sum(n * max(0, room[label][place]) for label, n in counts.items()) for place in range(len(SPLITS))]
    fitting = [place for place, over in enumerate(excess) if over == 0]
    if fitting:
        edges = list(accumulate(weights[place] for place in fitting))
        chosen = next(place for place, edge in zip(fitting, edges, strict=True) if draw * edges[-1] < edge)
    else:
        chosen = min(range(len(SPLITS)), key=lambda place: (excess[place], -weights[place]))
    for label, n in counts.items():
        room[label][chosen] -= n
    return chosen


def _fill(stratum: Sequence[Example], room: Sequence[int]) -> list[Placed]:
    """Share out the examples of a stratum that have no group, in their order, by the room that is left."""
    left = [max(0, places) for places in room]
    sizes = left if sum(left) == len(stratum) else apportion(len(stratum), left if any(left) else [1, 1, 1], 0)
    edges = [sum(sizes[:end]) for end in range(len(sizes) + 1)]
    return [
        Placed([example], place) for place, (start, end) in enumerate(pairwise(edges)) for example in stratum[start:end]
    ]


def _require_groups(count: int) -> None:
    if count < SMALLEST * len(SPLITS):
        raise DataError(
            f"the rows belong to {count} groups, and train, dev and test need {SMALLEST} each: add rows of other"
            " groups; or where the rows are independent, leave out task.group, or set task.near_duplicate=1.0"
        )


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
            f"{len(examples)} examples are left after cleaning, and train, dev and test need {SMALLEST} each: add rows"
        )
    counts = Counter(example.target for example in examples)
    rare = [f"{label!r} has {counts[label]}" for label in labels if counts[label] < minimum]
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
        groups[_stratum(example, labels)].append(example)
    return [sorted(groups[key], key=lambda example: _rank(example.id, seed)) for key in sorted(groups)]


def _stratum(example: Example, labels: Sequence[str]) -> str:
    return example.target if labels else ""


def _draw(name: str, seed: int) -> float:
    """Return a number in [0, 1) that is independent of the rank, in which its first digits count."""
    return int(_rank(name, seed)[-12:], 16) / 16**12


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
