"""Subsets of the labels: nested, stratified, seeded, whatever the order of the rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from whether.config import CurveConfig
from whether.prompt.curve import label_order, write_curve_data
from whether.records import Example, Task, read_json


@pytest.fixture
def uneven() -> list[Example]:
    """120 examples: 72 of billing, 36 of tech, 12 of other."""
    labels = ["billing"] * 6 + ["tech"] * 3 + ["other"]
    return [Example(f"row-{number}", {"text": str(number)}, labels[number % 10]) for number in range(120)]


def test_each_beginning_holds_the_labels_in_proportion(label_task: Task, uneven: Sequence[Example]) -> None:
    order = label_order(label_task, uneven, 3)
    shares = {"billing": 0.6, "tech": 0.3, "other": 0.1}
    for size in range(1, 121):
        counts = Counter(example.target for example in order[:size])
        for label, share in shares.items():
            assert abs(counts[label] - size * share) <= 1, (size, label)


def test_a_longer_beginning_contains_a_shorter_one(label_task: Task, uneven: Sequence[Example]) -> None:
    order = label_order(label_task, uneven, 0)
    assert sorted(example.id for example in order) == sorted(example.id for example in uneven)
    assert {example.id for example in order[:40]} < {example.id for example in order[:80]}


def test_the_seed_decides_and_the_order_of_rows_does_not(label_task: Task, uneven: Sequence[Example]) -> None:
    assert label_order(label_task, uneven[::-1], 0) == label_order(label_task, uneven, 0)
    first, second = ({example.id for example in label_order(label_task, uneven, seed)[:40]} for seed in (0, 1))
    assert len(first & second) < 30


def test_a_task_without_labels_has_an_order_too(label_task: Task, uneven: Sequence[Example]) -> None:
    task = replace(label_task, output="text", labels=[], metric="exact_match")
    order = label_order(task, uneven, 0)
    assert len({example.id for example in order}) == 120
    assert order != label_order(label_task, uneven, 0)


def test_without_a_curve_the_stage_writes_what_there_is_to_draw_from(
    artifacts: Path, tmp_path: Path, curve: CurveConfig
) -> None:
    (tmp_path / "none").mkdir()
    write_curve_data(replace(curve, labels=[], seeds=[]), prepared=artifacts / "prepare", folder=tmp_path / "none")
    assert {file.name: read_json(file) for file in (tmp_path / "none").iterdir()} == {"pool.json": {"examples": 18}}
