"""Which rows each optimizer step trains on: a pure function of seed and epoch, so that any step can be resumed at.

Imports torch: import it where it is used.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from whether.finetune.data import TrainingRow
from whether.finetune.packing import answer_labels


@dataclass(frozen=True)
class RowBatch:
    """The rows of a step or of a batch of dev, kept from libraries that would look for tensors in them."""

    rows: Sequence[TrainingRow]


def collate_rows(rows: Sequence[TrainingRow]) -> dict[str, Any]:
    """Return {"rows": `StepRows`, "labels": their answers}: Trainer counts by the labels and the rest comes later.

    What the model takes is made of a micro-batch at a time, whose size is known only when it is run.
    """
    return {"rows": RowBatch(rows), "labels": answer_labels(rows)}


class StepSampler(Sampler[list[int]]):
    """The indices of each step's rows in one epoch after another: a batch sampler."""

    def __init__(self, rows: int, batch_size: int, seed: int, classes: Sequence[Hashable] | None = None):
        """Order `rows` rows; with `classes`, the class of each, every class is drawn equally often."""
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.classes = classes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that is gone through next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = balanced(self.classes, generator) if self.classes else shuffled(range(self.rows), generator)
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]


class StepLoader(DataLoader[dict[str, Any]]):
    """Trainer's way to the rows of each step. Every process gets all of them and takes its share."""

    def __init__(self, rows: Sequence[TrainingRow], order: StepSampler):
        self.order = order
        # A generator of its own: otherwise each epoch would draw a number from the one that dropout uses.
        super().__init__(rows, batch_sampler=order, collate_fn=collate_rows, generator=torch.Generator())  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Trainer calls this."""
        self.order.set_epoch(epoch)


def shuffled(items: Sequence[int], generator: torch.Generator) -> list[int]:
    """Return the items in random order."""
    return [items[index] for index in torch.randperm(len(items), generator=generator).tolist()]


def balanced(classes: Sequence[Hashable], generator: torch.Generator) -> list[int]:
    """Return as many indices as there are rows, in random order, of every class equally many (or one more).

    A class with more rows than that is sampled without replacement; one with fewer is gone through again and again, so
    that its rows differ by one use at most. Which classes get one more, where the numbers do not divide, is random.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, name in enumerate(classes):
        groups.setdefault(name, []).append(index)
    each, more = divmod(len(classes), len(groups))
    favoured = set(shuffled(range(len(groups)), generator)[:more])
    drawn: list[int] = []
    for number, group in enumerate(groups.values()):
        wanted = each + (number in favoured)
        draws: list[int] = []
        while len(draws) < wanted:
            draws += shuffled(group, generator)
        drawn += draws[:wanted]
    return shuffled(drawn, generator)
