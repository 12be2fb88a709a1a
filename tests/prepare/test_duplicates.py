import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from whether.prepare import duplicates
from whether.prepare.duplicates import drop_duplicates, drop_near_duplicates, normalised
from whether.prepare.rows import SourceRow
from whether.records import Example


def rows(texts: Sequence[str], targets: Sequence[str] | None = None) -> list[SourceRow]:
    return [
        SourceRow(line, Example(str(line), {"text": text}, targets[line - 1] if targets else "a"))
        for line, text in enumerate(texts, 1)
    ]


def lines(kept: Sequence[SourceRow]) -> list[int]:
    return [row.line for row in kept]


def greedy(table: Sequence[SourceRow], threshold: float) -> list[int]:
    """What is meant, written in the plainest way."""
    kept: list[SourceRow] = []
    for row in table:
        if all(fuzz.token_sort_ratio(normalised(row), normalised(other)) < threshold * 100 for other in kept):
            kept.append(row)
    return lines(kept)


def test_case_and_white_space_do_not_make_a_difference() -> None:
    found = drop_duplicates(rows(["Play  it", "play it\n", "stop"], ["a", "b", "c"]))
    assert lines(found.kept) == [1, 3]
    assert [(drop.row.line, drop.kept.line, drop.conflict) for drop in found.dropped] == [(2, 1, True)]


def test_two_inputs_do_not_run_into_each_other() -> None:
    table = [
        SourceRow(1, Example("1", {"a": "x y", "b": "z"}, "a")),
        SourceRow(2, Example("2", {"a": "x", "b": "y z"}, "a")),
    ]
    assert lines(drop_duplicates(table).kept) == [1, 2]


def test_the_first_of_similar_rows_stays() -> None:
    table = rows(["Show me movie schedules.", "Will it rain?", "Show me movie schedule.", "it will rain?"])
    found = drop_near_duplicates(table, 0.9)
    assert lines(found.kept) == [1, 2]
    assert [(drop.row.line, drop.kept.line) for drop in found.dropped] == [(3, 1), (4, 2)]


def test_at_one_only_equal_inputs_count() -> None:
    assert lines(drop_near_duplicates(rows(["rain will it", "it will rain"]), 1.0).kept) == [1, 2]


@pytest.mark.heavy
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("block", [1, 7, 1024])
def test_blocks_and_lengths_change_nothing(monkeypatch: pytest.MonkeyPatch, threshold: float, block: int) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", block)
    generator = random.Random(block)
    words = ["play", "the", "song", "book", "a", "table", "for", "two", "rain", "tomorrow"]
    table = rows([" ".join(generator.choices(words, k=generator.randint(1, 9))) for _ in range(300)])
    found = drop_near_duplicates(table, threshold)
    assert lines(found.kept) == greedy(table, threshold)
    assert len(found.kept) + len(found.dropped) == len(table)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="ab c", min_size=1, max_size=24), max_size=12), st.sampled_from([0.6, 0.75, 0.9]))
def test_no_two_kept_rows_are_similar(texts: list[str], threshold: float) -> None:
    table = rows(texts)
    assert lines(drop_near_duplicates(table, threshold).kept) == greedy(table, threshold)
