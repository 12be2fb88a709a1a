"""The order in which a learning curve adds labelled examples: its first n are the subset of n, so subsets are nested.

Each label's examples are ordered by the hash of seed and id, and the labels are interleaved by the method of
Sainte-Laguë: the i-th example (from 0) of a label with N examples stands at (i + 1/2) / N. So every beginning of the
order holds the labels in proportion, each to within one example or so, and a longer beginning contains a shorter one;
the largest remainders by which `prepare` shares out splits would not be nested (the Alabama paradox; Balinski and
Young 1982).
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from whether.records import Example, Task


def label_order(task: Task, examples: Sequence[Example], seed: int | str) -> list[Example]:
    """Return the examples in a seeded order that is stratified by label; it depends on their ids, not their order."""
    strata: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda example: _rank(example, seed)):
        strata[example.target if task.labels else ""].append(example)
    placed = [
        ((index + 0.5) / len(stratum), _rank(example, seed), example)
        for stratum in strata.values()
        for index, example in enumerate(stratum)
    ]
    return [example for _, _, example in sorted(placed, key=lambda place: place[:2])]


def _rank(example: Example, seed: int | str) -> str:
    """Return a hash that has nothing to do with the one by which `prepare` makes its splits."""
    return hashlib.sha256(f"curve:{seed}:{example.id}".encode()).hexdigest()
