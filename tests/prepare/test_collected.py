from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest

from whether.prepare.collected import Arrived, Placement, place
from whether.prepare.rows import SourceRow
from whether.records import Example, Split


def row(name: str, group: str | None = None) -> SourceRow:
    return SourceRow(1, Example(name, {"text": name}, "a", group))


def placed(
    own: Sequence[tuple[str, Split, int]], later: Sequence[tuple[str, Split, int]], groups: dict[str, str] | None = None
) -> Placement:
    """`own` and `later`: name, split, number of the cluster, 0 for none; own clusters are those of own rows alone."""
    groups, lone = groups or {}, count(100)
    numbers = [number or next(lone) for _, _, number in [*own, *later]]
    rows = [row(name, groups.get(name)) for name, _, _ in own]
    arrived = [Arrived(split, row(name, groups.get(name))) for name, split, _ in later]
    apart = np.array([number if number < 10 else next(lone) for number in numbers[: len(own)]])
    return place(rows, {name: split for name, split, _ in own}, arrived, apart, np.array(numbers))


def splits(found: Placement) -> dict[str, Split]:
    return {arrived.row.example.id: arrived.split for arrived in found.used}


OWN: list[tuple[str, Split, int]] = [("o1", "train", 1), ("o2", "train", 1), ("o3", "dev", 2), ("o4", "test", 3)]


def test_a_row_that_resembles_no_other_goes_where_it_was_put() -> None:
    found = placed(OWN, [("a", "recent", 0), ("b", "train", 0), ("c", "dev", 0)])
    assert splits(found) == {"a": "recent", "b": "train", "c": "dev"}
    assert len(set(found.groups)) == 3
    assert found.left_out == []


def test_a_row_goes_to_the_rows_of_the_task_that_it_resembles() -> None:
    found = placed(OWN, [("a", "dev", 1), ("b", "train", 2), ("c", "recent", 2)])
    assert splits(found) == {"a": "train", "b": "dev", "c": "dev"}
    assert found.groups == [1, 2, 2]


def test_what_belongs_to_the_test_split_is_left_out() -> None:
    found = placed(OWN, [("a", "train", 3), ("b", "recent", 3), ("c", "train", 0)])
    assert splits(found) == {"c": "train"}
    assert [(left.row.example.id, left.kept.example.id) for left in found.left_out] == [("a", "o4"), ("b", "o4")]


def test_rows_that_resemble_each_other_go_where_the_first_went() -> None:
    found = placed(OWN, [("a", "recent", 7), ("b", "train", 7), ("c", "dev", 8), ("d", "train", 7)])
    assert splits(found) == {"a": "recent", "b": "recent", "c": "dev", "d": "recent"}
    assert found.groups[0] == found.groups[1] == found.groups[3] != found.groups[2]


@pytest.mark.parametrize(("other", "like"), [("dev", "o1"), ("test", "o4")])
def test_a_row_between_two_splits_is_left_out(other: Split, like: str) -> None:
    """Own rows of two clusters, which a later row joins; none of them moves."""
    own: list[tuple[str, Split, int]] = [("o1", "train", 11), ("o4", other, 11)]
    found = placed(own, [("a", "train", 11)])
    assert found.used == []
    assert [left.kept.example.id for left in found.left_out] == [like]


def test_a_customer_of_the_test_split_is_not_trained_on() -> None:
    groups = {"o4": "k", "a": "k", "o1": "m", "b": "m"}
    found = placed(OWN, [("a", "train", 0), ("b", "recent", 0)], groups)
    assert splits(found) == {"b": "recent"}
    assert [left.kept.example.id for left in found.left_out] == ["o4"]
