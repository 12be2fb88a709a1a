"""Rows that arrived after the beginning, through the inbox of retraining: data/collected/<task>.jsonl.

The task's own file stays as it is, so its test split stays too. Each collected row says where it belongs, and no row
can come into two splits: one that resembles an earlier row, above all one of the test split, is dropped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from whether.config import TaskConfig
from whether.errors import DataError, RecordError
from whether.prepare.rows import SourceRow, example_reader
from whether.records import COLLECTED, CollectedRow, Destination, Example, Split, read_jsonl

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
        return read_jsonl(file, CollectedRow)
    except RecordError as error:
        raise DataError(f"{error}: the file is written by `whether retrain run` and not by hand") from None


def usable(task: TaskConfig, collected: Sequence[CollectedRow], file: Path) -> dict[Split, list[SourceRow]]:
    """Return the rows that belong to a split, with their line in the file. Raises DataError for one that does not fit
    the task any more."""
    read = example_reader(task, file)
    found: dict[Split, list[SourceRow]] = {name: [] for name in SPLIT_OF.values()}
    for line, kept in enumerate(collected, 1):
        if split := SPLIT_OF.get(kept.destination):
            try:
                found[split].append(SourceRow(line, read(kept.row)))
            except ValueError as error:
                raise DataError(
                    f"{file}, line {line}: {error}; the row was right when it arrived: did conf/task change?"
                ) from None
    return found


class Partition(NamedTuple):
    """Rows of the task's own file, and rows that were collected."""

    own: list[SourceRow]
    later: list[SourceRow]


def partition(rows: Sequence[SourceRow], arrived: dict[Split, list[SourceRow]]) -> Partition:
    """Tell collected rows from the others."""
    collected = {id(row) for members in arrived.values() for row in members}
    return Partition([row for row in rows if id(row) not in collected], [row for row in rows if id(row) in collected])


def rows_of_split(
    name: Split, rows: Sequence[SourceRow], arrived: dict[Split, list[SourceRow]], tested: Sequence[Example]
) -> list[Example]:
    """Return the examples among `rows` that were collected for a split, without those of a group that is tested."""
    kept, groups = {id(row) for row in rows}, {example.group for example in tested} - {None}
    return [row.example for row in arrived[name] if id(row) in kept and row.example.group not in groups]
