"""Successive halving (Jamieson and Talwalkar 2016): all candidates on few examples, the better on twice as many."""

import math
import random
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from whether.records import Example


class Rung(NamedTuple):
    """One round."""

    candidates: int
    examples: int
    """How many of the ordered examples each candidate has answered at its end."""


def rungs(candidates: int, dev: int, *, first: int, keep: float) -> list[Rung]:
    """Return the rounds, the last one on all of dev; at least two candidates reach it, where there are two."""
    planned, count, size = list[Rung](), candidates, min(first, dev)
    while size < dev:
        planned.append(Rung(count, size))
        count, size = max(math.ceil(keep * count), min(2, count)), min(2 * size, dev)
    return [*planned, Rung(count, dev)]


def evaluations(planned: Sequence[Rung]) -> int:
    """Return how many requests the rounds take: what a candidate has answered it is not asked again."""
    before, total = 0, 0
    for rung in planned:
        total += rung.candidates * (rung.examples - before)
        before = rung.examples
    return total


def max_candidates(candidates: int, dev: int, budget: int | None, *, first: int, keep: float) -> int:
    """Return the largest number of candidates whose rounds take at most `budget` requests; 0 if not even one."""
    while candidates and budget is not None and evaluations(rungs(candidates, dev, first=first, keep=keep)) > budget:
        candidates -= 1
    return candidates


def stratified_order(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return examples in a seeded order whose every beginning holds the targets about equally often."""
    shuffled = random.Random(seed).sample(list(examples), len(examples))
    groups: dict[str, list[Example]] = {}
    for example in shuffled:
        groups.setdefault(example.target, []).append(example)
    if len(groups) > len(examples) / 2:
        return shuffled
    return [example for turn in zip_longest(*groups.values()) for example in turn if example is not None]
