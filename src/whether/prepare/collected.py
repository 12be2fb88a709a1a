"""Rows that arrived after the beginning, through the inbox of retraining: data/collected/<task>.jsonl.

The task's own file stays as it is, so its test split stays too. Each collected row says where it belongs, and rows that
resemble each other stay in one split: one that resembles a row of the test split is left out.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from whether.config import TaskConfig
from whether.errors import DataError, RecordError
from whether.prepare.clusters import joined
from whether.prepare.duplicates import Dropped
from whether.prepare.rows import SourceRow, example_reader
from whether.prepare.similar import Codes
from whether.records import COLLECTED, CollectedRow, Destination, Split, read_jsonl
from whether.records.values import plain

SPLIT_OF: dict[Destination, Split] = {"train": "train", "dev": "dev", "holdout": "recent"}
"""Of the rows that are used for more than drift."""


def collected_file(task: TaskConfig, folder: Path = COLLECTED) -> Path:
    """Return the file of a task's collected rows."""
    return folder / f"{task.name}.jsonl"


def read_collected(file: Path) -> list[CollectedRow]:
    """Return a task's collected rows in their order, none where none has arrived yet. Raises DataError."""
    if not file.exists():
        return []
    try:
        # What was written before numbers had one spelling, such as 1.0, reads as it does now.
        return [replace(row, row=plain(row.row)) for row in read_jsonl(file, CollectedRow)]
    except RecordError as error:
        raise DataError(f"{error}: the file is written by `whether retrain run` and not by hand") from None


class Arrived(NamedTuple):
    """A collected row, and the split that it was put into when it arrived."""

    split: Split
    row: SourceRow


def usable(task: TaskConfig, collected: Sequence[CollectedRow], file: Path) -> list[Arrived]:
    """Return the rows that belong to a split, in the order of arrival. Raises DataError for one that does not fit the
    task any more."""
    read = example_reader(task, file)
    found = []
    for line, kept in enumerate(collected, 1):
        if split := SPLIT_OF.get(kept.destination):
            try:
                found.append(Arrived(split, SourceRow(line, read(kept.row))))
            except ValueError as error:
                raise DataError(
                    f"{file}, line {line}: {error}; the row was right when it arrived: did conf/task change?"
                ) from None
    return found


class Placement(NamedTuple):
    """Where collected rows go."""

    used: list[Arrived]
    """With the split that each goes into."""
    groups: list[object]
    """What each of these belongs to: a number of the task's own rows, or something else that is equal for two."""
    left_out: list[Dropped]
    """Those that belong to a group of the test split, or of two splits, with a row of it."""


def place(
    own: Sequence[SourceRow], splits: Mapping[str, Split], later: Sequence[Arrived], own_numbers: Codes, numbers: Codes
) -> Placement:
    """Decide where collected rows go, so that near-duplicates stay in one split.

    `splits` has the split of each of the task's own rows by id; `own_numbers` the clusters of these, `numbers` those of
    own and later rows together. A row goes where the rows of the task are that it resembles, and rows that only
    resemble each other go where the first of them went. The test split stays as it is: what belongs there is left out.
    """
    near = joined(len(numbers), own_numbers.tolist(), numbers.tolist())
    groups = [row.example.group for row in own] + [arrived.row.example.group for arrived in later]
    whole = joined(len(numbers), near.tolist(), groups)
    tested, homes, found = _tested(own, splits, whole), _homes(own, splits, near), Placement([], [], [])
    first: dict[int, Split] = {}
    for arrived, number, group in zip(later, near[len(own) :].tolist(), whole[len(own) :].tolist(), strict=True):
        home = homes.get(number, {})
        if group in tested or len(home) > 1:
            found.left_out.append(Dropped(arrived.row, own[tested.get(group, min(home.values(), default=0))]))
            continue
        split = next(iter(home), first.setdefault(number, arrived.split))
        found.used.append(arrived._replace(split=split))
        found.groups.append(int(own_numbers[home[split]]) if home else ("collected", number))
    return found


def _tested(own: Sequence[SourceRow], splits: Mapping[str, Split], numbers: Codes) -> dict[int, int]:
    """Return group → place of a row of it, of the groups that the test split has."""
    pairs = enumerate(zip(own, numbers[: len(own)].tolist(), strict=True))
    return {number: index for index, (row, number) in pairs if splits[row.example.id] == "test"}


def _homes(own: Sequence[SourceRow], splits: Mapping[str, Split], numbers: Codes) -> dict[int, dict[Split, int]]:
    """Return cluster → split → place of a row of it, of the task's own rows."""
    homes: defaultdict[int, dict[Split, int]] = defaultdict(dict)
    for index, (row, number) in enumerate(zip(own, numbers[: len(own)].tolist(), strict=True)):
        homes[number].setdefault(splits[row.example.id], index)
    return homes
