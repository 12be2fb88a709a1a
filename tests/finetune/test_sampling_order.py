"""Which rows a step trains on: each once an epoch, or every class equally often; the same whenever it is asked."""

from collections import Counter

import pytest

from whether.finetune.data import TrainingRow
from whether.finetune.order import StepLoader, StepSampler
from whether.records import are_imbalanced

CLASSES = ["often"] * 17 + ["seldom"] * 3 + ["once"]


def epoch(order: StepSampler, number: int) -> list[int]:
    order.set_epoch(number)
    return [index for step in order for index in step]


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    order = StepSampler(10, 4, seed=0)
    assert [len(step) for step in order] == [4, 4, 2]
    assert len(order) == 3
    first, second = epoch(order, 0), epoch(order, 1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first == epoch(StepSampler(10, 4, seed=0), 0) != epoch(StepSampler(10, 4, seed=7), 0)


@pytest.mark.parametrize("number", range(5))
def test_balanced_draws_every_class_equally_often_and_keeps_the_length(number: int) -> None:
    drawn = epoch(StepSampler(len(CLASSES), 4, seed=0, classes=CLASSES), number)
    assert Counter(CLASSES[index] for index in drawn) == {"often": 7, "seldom": 7, "once": 7}
    uses = Counter(drawn)
    assert max(uses[index] for index in range(17)) == 1
    assert sorted(uses[index] for index in (17, 18, 19)) == [2, 2, 3]


@pytest.mark.parametrize(
    ("counts", "unequal"),
    [
        ((30, 30, 30), False),
        ((78, 15, 7), True),
        ((80, 20), False),
        ((90, 10), True),
        ((20, 18, 16, 14, 12, 12, 8), False),
        ((5,), False),
    ],
)
def test_which_labels_are_very_unequal(counts: tuple[int, ...], unequal: bool) -> None:
    assert are_imbalanced([name for name, count in enumerate(counts) for _ in range(count)]) == unequal


def test_what_does_not_divide_goes_to_random_classes() -> None:
    order = StepSampler(20, 4, seed=0, classes=CLASSES[:20])
    favoured = set()
    for number in range(10):
        counts = Counter(CLASSES[index] for index in epoch(order, number))
        assert counts == {"often": 10, "seldom": 10}
    order = StepSampler(5, 4, seed=0, classes=["a", "a", "b", "b", "b"])
    for number in range(10):
        favoured.add(Counter("aabbb"[index] for index in epoch(order, number)).most_common(1)[0])
    assert favoured == {("a", 3), ("b", 3)}


def test_steps_hand_over_rows_and_the_labels_that_are_counted() -> None:
    rows = [TrainingRow([1, 2, number], [number, 9]) for number in range(5)]
    order = StepSampler(5, 2, seed=3)
    steps = StepLoader(rows, order)
    steps.set_epoch(1)
    for indices, step in zip(order, steps, strict=True):
        assert list(step["rows"].rows) == [rows[index] for index in indices]
        assert step["labels"][:, 1].tolist() == indices
