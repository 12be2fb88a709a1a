import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whether.config import SplitConfig
from whether.errors import DataError
from whether.prepare.rows import SourceRow
from whether.prepare.splits import SPLITS, apportion, draw_sample, split
from whether.records import Example


def make(counts: dict[str, int]) -> list[Example]:
    return [
        Example(f"{label}{number}", {"t": f"{label}{number}"}, label)
        for label, n in counts.items()
        for number in range(n)
    ]


def rows(examples: list[Example]) -> list[SourceRow]:
    return [SourceRow(line, example) for line, example in enumerate(examples, 1)]


COUNTS = {"a": 100, "b": 37, "c": 3}


def test_each_label_is_shared_out_by_itself() -> None:
    splits = split(make(COUNTS), SplitConfig(), 0, list(COUNTS))
    assert {name: Counter(example.target for example in splits[name]) for name in SPLITS} == {
        "train": {"a": 55, "b": 20, "c": 1},
        "dev": {"a": 15, "b": 6, "c": 1},
        "test": {"a": 30, "b": 11, "c": 1},
    }
    assert len({example.id for examples in splits.values() for example in examples}) == 140


def test_splits_depend_on_seed_and_examples_and_not_on_their_order() -> None:
    examples = make(COUNTS)
    shuffled = random.Random(0).sample(examples, len(examples))
    labels = list(COUNTS)

    def ids(of: list[Example], seed: int) -> dict[str, set[str]]:
        return {name: {example.id for example in part} for name, part in split(of, SplitConfig(), seed, labels).items()}

    assert ids(examples, 0) == ids(shuffled, 0) != ids(examples, 1)


def test_new_examples_move_few_of_the_old_ones() -> None:
    old = split(make({"a": 200, "b": 200}), SplitConfig(), 0, ["a", "b"])
    new = split(make({"a": 220, "b": 220}), SplitConfig(), 0, ["a", "b"])
    where = {example.id: name for name, examples in new.items() for example in examples}
    moved = sum(where[example.id] != name for name, examples in old.items() for example in examples)
    assert moved < 0.1 * 400


def test_a_text_task_is_one_stratum() -> None:
    examples = [Example(str(number), {"t": str(number)}, f"answer {number}") for number in range(20)]
    assert [len(part) for part in split(examples, SplitConfig(), 0, []).values()] == [11, 3, 6]
    assert [len(part) for part in split(examples[:6], SplitConfig(), 0, []).values()] == [2, 2, 2]
    with pytest.raises(DataError, match="5 examples are left after cleaning"):
        split(examples[:5], SplitConfig(), 0, [])


def test_a_label_too_rare_for_three_splits_is_named() -> None:
    with pytest.raises(DataError, match=r"each label needs 3 examples.*'c' has 2, 'd' has 0"):
        split(make({"a": 9, "b": 3, "c": 2}), SplitConfig(), 0, ["a", "b", "c", "d"])


def test_a_sample_keeps_proportions_and_rare_labels() -> None:
    sample = draw_sample(rows(make(COUNTS)), 70, 0, list(COUNTS))
    assert Counter(row.example.target for row in sample) == {"a": 49, "b": 18, "c": 3}
    assert [row.line for row in sample] == sorted(row.line for row in sample)
    assert draw_sample(rows(make(COUNTS)), None, 0, list(COUNTS)) == rows(make(COUNTS))
    with pytest.raises(DataError, match=r"task\.max_rows=8 is too small: 3 labels need 3 rows each"):
        draw_sample(rows(make(COUNTS)), 8, 0, list(COUNTS))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 3), st.integers(0, 400))
def test_apportioned_numbers_add_up_and_stay_close(weights: list[int], minimum: int, more: int) -> None:
    total = minimum * len(weights) + more
    counts = apportion(total, weights, minimum)
    assert sum(counts) == total
    assert min(counts) >= minimum
    if minimum == 0:
        assert all(
            abs(count - total * weight / sum(weights)) < 1 for count, weight in zip(counts, weights, strict=True)
        )


def grouped(sizes: dict[str, int]) -> list[Example]:
    """Return examples of customers: `sizes` says how many rows each has; labels take turns."""
    return [
        Example(f"{name}-{number}", {"t": f"{name} {number}"}, "ab"[number % 2], group=name)
        for name, size in sizes.items()
        for number in range(size)
    ]


def test_groups_stay_together_and_the_shares_are_about_right() -> None:
    examples = grouped({f"customer{number}": 2 + number % 5 for number in range(60)})
    splits = split(examples, SplitConfig(), 0, ["a", "b"])
    where = {name: {example.group for example in splits[name]} for name in SPLITS}
    assert not where["train"] & where["dev"]
    assert not where["train"] & where["test"]
    assert not where["dev"] & where["test"]
    assert sum(map(len, splits.values())) == len(examples)
    assert len(splits["train"]) / len(examples) == pytest.approx(0.55, abs=0.08)


def test_too_few_groups_are_one_error() -> None:
    with pytest.raises(DataError, match="belong to 3 groups"):
        split(grouped({"x": 9, "y": 9, "z": 9}), SplitConfig(), 0, ["a", "b"])


def test_a_split_without_a_label_is_one_error() -> None:
    sizes = {f"customer{number}": 1 for number in range(7)} | {"rare": 7}
    with pytest.raises(DataError, match="none of b"):
        split(grouped(sizes), SplitConfig(), 0, ["a", "b"])
