"""From all rows to those that are used: what is there twice is taken out, and near-duplicates stay in one split."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from whether.config import TaskConfig
from whether.prepare.clusters import Template
from whether.prepare.collected import Arrived, Placement, collected_file, place, read_collected, usable
from whether.prepare.duplicates import Dropped, drop_duplicates, near_duplicates, with_groups
from whether.prepare.labels import one_spelling, respelled
from whether.prepare.left_out import describe_left_out
from whether.prepare.rows import Rejected, SourceRow, read_examples
from whether.prepare.splits import draw_sample, split
from whether.records import Example, Split


class Rows(NamedTuple):
    """What there is: rows of the task's file, and those that were collected since, with one spelling of each label."""

    own: list[SourceRow]
    rejected: list[Rejected]
    later: list[Arrived]

    @property
    def rows(self) -> list[SourceRow]:
        """All of them."""
        return [*self.own, *(arrived.row for arrived in self.later)]


class Cleaned(NamedTuple):
    """What is used of the rows, with the group of each, and what is left out."""

    own: list[SourceRow]
    later: list[Arrived]
    clusters: list[object]
    """Of each of them, first the own ones, its cluster of near-duplicates."""
    templates: list[Template]
    splits: dict[Split, list[Example]]
    left_out: dict[str, Any]
    """The profile's."""

    @property
    def rows(self) -> list[SourceRow]:
        """All of them."""
        return [*self.own, *(arrived.row for arrived in self.later)]


def read_all(task: TaskConfig, collected: Path, check: Callable[[Example], None]) -> Rows:
    """Read a task's rows; `check` raises ValueError for one of the task's file that cannot be used.

    Raises DataError, for labels that differ only in spelling too.
    """
    table, file = read_examples(task, check), collected_file(task, collected)
    later = usable(task, read_collected(file), file)
    spelling = one_spelling(task, table.rows, [arrived.row for arrived in later])
    respelled_later = respelled([arrived.row for arrived in later], spelling)
    return Rows(
        respelled(table.rows, spelling),
        table.rejected,
        [arrived._replace(row=row) for arrived, row in zip(later, respelled_later, strict=True)],
    )


def clean(task: TaskConfig, seed: int, read: Rows, labels: list[str]) -> Cleaned:
    """Take out what is there twice, sample, and put the rest into splits, each group into one."""
    own_labels = _labels_of_source(labels, read.own, read.later)
    # 1. Equal rows go before the sample is drawn; what was collected changes nothing about the task's own rows.
    distinct = drop_duplicates(read.own)
    sample = draw_sample(distinct.kept, task.max_rows, seed, own_labels)
    near = near_duplicates(sample, task.near_duplicate)
    own = with_groups(sample, near.numbers.tolist())
    splits = split([row.example for row in own], task.splits, seed, own_labels)
    cleaned = Cleaned(own, [], near.numbers.tolist(), near.templates, splits | {"recent": []}, {})
    # 2. Collected rows are never sampled out. They go where they were put, or to the rows that they resemble.
    fresh = drop_duplicates([arrived.row for arrived in read.later], distinct.kept)
    later = [read.later[at]._replace(row=row) for at, row in zip(fresh.places, fresh.kept, strict=True)]
    crossing: list[Dropped] = []
    if later:
        both = near_duplicates([*sample, *(arrived.row for arrived in later)], task.near_duplicate)
        where = {example.id: name for name, examples in splits.items() for example in examples}
        placed = place(own, where, later, near.numbers, both.numbers)
        cleaned, crossing = _with_collected(cleaned, where, placed), placed.left_out
    # 3. Why rows are left out.
    sampled = {row.example.id for row in sample}
    not_sampled = [row for row in distinct.kept if row.example.id not in sampled]
    duplicates = [*distinct.dropped, *fresh.dropped]
    return cleaned._replace(left_out=describe_left_out(read.rejected, duplicates, crossing, not_sampled))


def _with_collected(cleaned: Cleaned, where: Mapping[str, Split], placed: Placement) -> Cleaned:
    """Return the rows with the collected ones added, and one name for the group of both."""
    own, clusters = cleaned.own, [*cleaned.clusters, *placed.groups]
    rows = with_groups([*own, *(arrived.row for arrived in placed.used)], clusters)
    later = [arrived._replace(row=row) for arrived, row in zip(placed.used, rows[len(own) :], strict=True)]
    splits: dict[Split, list[Example]] = {name: [] for name in cleaned.splits}
    for row in rows[: len(own)]:
        splits[where[row.example.id]].append(row.example)
    for arrived in later:
        splits[arrived.split].append(arrived.row.example)
    return cleaned._replace(own=rows[: len(own)], later=later, clusters=clusters, splits=splits)


def _labels_of_source(labels: list[str], rows: Sequence[SourceRow], later: Sequence[Arrived]) -> list[str]:
    """Return the labels that the task's own file has to have examples of: not those that only came later."""
    came, own = {arrived.row.example.target for arrived in later}, {row.example.target for row in rows}
    return [label for label in labels if label in own or label not in came]
