"""Splits that lack a label get one: where rows stay together, chance and room may leave a split without."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from whether.errors import DataError
from whether.records import Example, Split

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@dataclass
class Placed:
    """Examples that stay together, and the place of their split in `SPLITS`."""

    rows: list[Example]
    split: int


def fill_gaps(placed: Sequence[Placed], labels: Sequence[str], least: int) -> None:
    """Move groups until each split has `least` rows of every label, or in all where a task has no labels.

    A split takes the smallest group that another one can spare. Raises DataError where none can.
    """
    counts = [Counter[str]() for _ in SPLITS]
    for unit in placed:
        counts[unit.split].update(_strata(unit, labels))

    def is_spare(unit: Placed) -> bool:
        return all(counts[unit.split][name] - n >= least for name, n in Counter(_strata(unit, labels)).items())

    for place, count in enumerate(counts):
        for stratum in labels or [""]:
            while count[stratum] < least:
                others = (unit for unit in placed if unit.split != place and stratum in _strata(unit, labels))
                spare = min(filter(is_spare, others), key=lambda unit: len(unit.rows), default=None)
                if spare is None:
                    raise _no_spare(SPLITS[place], count.total(), stratum)
                counts[spare.split].subtract(_strata(spare, labels))
                count.update(_strata(spare, labels))
                spare.split = place


def _strata(unit: Placed, labels: Sequence[str]) -> list[str]:
    return [row.target if labels else "" for row in unit.rows]


def _no_spare(split: Split, examples: int, label: str) -> DataError:
    return DataError(
        f"with rows kept together that belong together, {split} has {examples} examples"
        + (f" and none of {label}" if label else "")
        + ": add rows that are not like the others; or where the rows are independent, leave out task.group, or set"
        " task.near_duplicate=1.0"
    )
