from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whether.prepare.duplicates import contradictions, drop_duplicates, near_duplicates, normalised, with_groups
from whether.prepare.rows import SourceRow, example_id
from whether.records import Example


def rows(
    texts: Sequence[str], targets: Sequence[str] | None = None, groups: Sequence[str | None] | None = None
) -> list[SourceRow]:
    return [
        SourceRow(
            line,
            Example(
                example_id({"text": text}), {"text": text}, targets[line - 1] if targets else "a",
                groups[line - 1] if groups else None,
            ),
        )
        for line, text in enumerate(texts, 1)
    ]  # fmt: skip


def lines(kept: Sequence[SourceRow]) -> list[int]:
    return [row.line for row in kept]


def test_only_equal_rows_with_equal_answers_are_dropped() -> None:
    found = drop_duplicates(rows(["Play  it", "Play it\n", "play it", "Play it", "stop"], ["a", "a", "a", "b", "c"]))
    assert lines(found.kept) == [1, 3, 4, 5]
    assert found.places == [0, 2, 3, 4]
    assert [(drop.row.line, drop.kept.line) for drop in found.dropped] == [(2, 1)]


def test_a_text_in_two_unicode_forms_is_one() -> None:
    assert lines(drop_duplicates(rows(["café", "cafe\u0301", "cafe"])).kept) == [1, 3]


def test_earlier_rows_count() -> None:
    earlier = rows(["play it", "stop"])
    found = drop_duplicates(rows(["stop", "wait", "play it"], ["a", "a", "b"]), earlier)
    assert [row.example.inputs["text"] for row in found.kept] == ["wait", "play it"]
    assert [drop.kept for drop in found.dropped] == [earlier[1]]
    assert len({row.example.id for row in [*earlier, *found.kept]}) == 4


def test_two_inputs_do_not_run_into_each_other() -> None:
    table = [
        SourceRow(1, Example("1", {"a": "x y", "b": "z"}, "a")),
        SourceRow(2, Example("2", {"a": "x", "b": "y z"}, "a")),
    ]
    assert lines(drop_duplicates(table).kept) == [1, 2]


def test_equal_inputs_with_different_answers_are_told_and_have_ids_of_their_own() -> None:
    kept = drop_duplicates(rows(["it", "it", "other", "It", "it"], ["a", "b", "a", "c", "c"])).kept
    assert [lines(same) for same in contradictions(kept)] == [[1, 2, 5]]
    assert len({row.example.id for row in kept}) == 5
    assert kept[2].example.id == example_id({"text": "other"})
    assert drop_duplicates(rows(["it", "it"], ["b", "a"])).kept[0].example.id == kept[1].example.id


def test_near_duplicates_are_kept_in_one_group() -> None:
    table = rows(["Show me movie schedules.", "Will it rain?", "show me movie schedule.", "it will rain?", "stop"])
    found = near_duplicates(table, 0.9)
    groups = [row.example.group for row in with_groups(table, found.numbers.tolist())]
    assert groups[0] == groups[2] != groups[1] == groups[3]
    assert groups[4] is None
    assert None not in groups[:4]


def test_at_one_only_equal_inputs_belong_together() -> None:
    table = rows(["rain will it", "it will rain", "Stop", "STOP", "STOP "], list("abcde"))
    numbers = near_duplicates(table, 1.0).numbers.tolist()
    assert numbers[3] == numbers[4]
    assert len(set(numbers)) == 4


def test_groups_of_the_task_and_near_duplicates_are_joined_through_each_other() -> None:
    table = rows(list("uvwxyz"), groups=["k", "k", "b", "b", None, None])
    found = with_groups(table, [1, 2, 2, 3, 3, 4])
    assert [row.example.group for row in found] == ["b", "b", "b", "b", "b", None]
    lone = with_groups(rows(["u", "v"], groups=["k", None]), [1, 2])
    assert [row.example.group for row in lone] == ["k", None]


def test_the_name_of_a_group_does_not_depend_on_the_order_of_rows() -> None:
    table = rows(["show me it", "show me its"])
    names = {row.example.group for row in with_groups(table, [0, 0])}
    assert names == {row.example.group for row in with_groups(table[::-1], [0, 0])}
    assert len(names) == 1


@given(st.lists(st.tuples(st.sampled_from(["x", " x", "X", "é", "e\u0301", "y  z", "y z"]), st.sampled_from("ab"))))
def test_every_row_is_kept_or_like_one_that_is(pairs: list[tuple[str, str]]) -> None:
    table = rows([text for text, _ in pairs], [target for _, target in pairs])
    found = drop_duplicates(table)
    keys = [(normalised(row), row.example.target) for row in found.kept]
    assert len(keys) == len(set(keys)) == len({row.example.id for row in found.kept})
    assert len(found.kept) + len(found.dropped) == len(table)
    assert all((normalised(drop.row), drop.row.example.target) in keys for drop in found.dropped)


@pytest.mark.parametrize("threshold", [0.9, 1.0])
def test_no_rows(threshold: float) -> None:
    assert with_groups([], near_duplicates([], threshold).numbers.tolist()) == []
