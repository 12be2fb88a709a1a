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


def clustered(rows: int, seed: int) -> list[Example]:
    """Return rows of three labels of which about two in five are in clusters of 2 to 12, some with several labels."""
    generator = random.Random(seed)
    examples: list[Example] = []
    while len(examples) < rows:
        size = generator.choice([1] * 12 + [2, 2, 3, 4, 12])
        label, name = generator.choice("aaabbc"), f"group {seed}-{len(examples)}"
        for _ in range(size):
            number = len(examples)
            target = label if generator.random() < 0.8 else generator.choice("abc")
            examples.append(Example(f"{seed}-{number}", {"t": str(number)}, target, name if size > 1 else None))
    return examples


@pytest.mark.parametrize("seed", range(5))
def test_clusters_stay_together_and_shares_and_labels_are_as_asked(seed: int) -> None:
    examples = clustered(600, seed)
    shares = SplitConfig(train=0.55, dev=0.15, test=0.3)
    splits = split(examples, shares, seed, list("abc"))
    groups = {name: {row.group for row in splits[name]} - {None} for name in SPLITS}
    assert not groups["train"] & groups["dev"] | groups["train"] & groups["test"] | groups["dev"] & groups["test"]
    assert sum(map(len, splits.values())) == len(examples)
    whole = Counter(row.target for row in examples)
    for name in SPLITS:
        share = getattr(shares, name)
        assert len(splits[name]) == pytest.approx(share * len(examples), abs=2)
        for label, count in Counter(row.target for row in splits[name]).items():
            assert count == pytest.approx(share * whole[label], abs=3)


def test_clusters_are_drawn_into_every_split_in_proportion() -> None:
    """A split that gets none of the clusters would be another kind of test."""
    examples = [row for seed in range(40) for row in clustered(200, seed)]
    splits = split(examples, SplitConfig(), 0, list("abc"))
    inside = {name: sum(row.group is not None for row in rows) / len(rows) for name, rows in splits.items()}
    whole = sum(row.group is not None for row in examples) / len(examples)
    assert inside == pytest.approx(dict.fromkeys(SPLITS, whole), abs=0.06)


def test_clusters_change_no_split_of_the_others_much() -> None:
    examples = make({"a": 200, "b": 200})
    before = split(examples, SplitConfig(), 0, ["a", "b"])
    pairs = [
        Example(row.id, row.inputs, row.target, f"pair {row.target} {int(row.id[1:]) // 2}") for row in examples[:8]
    ]
    after = split([*pairs, *examples[8:]], SplitConfig(), 0, ["a", "b"])
    where = {row.id: name for name, rows in after.items() for row in rows}
    assert sum(where[row.id] != name for name, rows in before.items() for row in rows) <= 12


def test_a_split_without_a_label_takes_a_group_that_another_can_spare() -> None:
    """Three groups have all rows of the label c, so each split needs one of them, whatever is drawn."""
    examples = make({"a": 60, "b": 60})
    rare = [Example(f"c{number}", {"t": "c"}, "c", f"rare {number // 4}") for number in range(12)]
    for seed in range(20):
        splits = split([*examples, *rare], SplitConfig(), seed, list("abc"))
        assert {name: sum(row.target == "c" for row in rows) for name, rows in splits.items()} == dict.fromkeys(
            SPLITS, 4
        )


def test_a_label_that_is_one_cluster_is_an_error_that_says_what_to_do() -> None:
    examples = [*make({"a": 60, "b": 60}), *(Example(f"c{number}", {}, "c", "alike") for number in range(6))]
    with pytest.raises(DataError, match=r"none of c: add rows .*task\.near_duplicate=1\.0"):
        split(examples, SplitConfig(), 0, list("abc"))


def test_a_text_task_with_clusters() -> None:
    examples = [Example(str(n), {"t": str(n)}, f"answer {n}", f"g{n // 3}" if n < 12 else None) for n in range(40)]
    assert [len(part) for part in split(examples, SplitConfig(), 0, []).values()] == pytest.approx([22, 6, 12], abs=1)
