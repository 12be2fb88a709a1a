"""A synthetic learning curve in the layout that the curve stage writes, with chosen qualities."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from synthetic_study import LABELS

from whether.records import CheckpointMetrics, CurveAnswer, CurvePoint, Example, read_jsonl, write_json, write_jsonl

Law = Callable[[float], float]


def law(low: float, top: float, rate: float, first: int) -> Law:
    """Quality by number of labels: a power law that is `low` at `first`."""
    return lambda labels: top - (top - low) * (labels / first) ** -rate


def true_crossover(tuned: Law, prompting: Law, first: int, last: int) -> float:
    """The number of labels at which one law overtakes the other."""
    places = np.geomspace(first, last, 5000)
    return float(places[np.argmax([tuned(place) > prompting(place) for place in places])])


def scores(rng: np.random.Generator, quality: np.ndarray, difficulty: np.ndarray) -> np.ndarray:
    """0/1 scores, shape quality.shape + (examples,): examples that are hard for one are often so for another."""
    shape = (*quality.shape, len(difficulty))
    ease = np.where(rng.random(shape) < 0.7, difficulty, rng.random(shape))
    return (ease < quality[..., None]).astype(np.float64)


def write_curve(
    artifacts: Path,
    ways: dict[str, Law],
    *,
    labels: tuple[int, ...] = (20, 50, 120),
    seeds: tuple[int, ...] = (0, 1),
    seed_deviation: float = 0.02,
) -> Path:
    """Write artifacts/curve for arms with these laws of quality; the first is the tuned one."""
    rng = np.random.default_rng(7)
    examples = {
        split: read_jsonl(artifacts / "prepare" / f"{split}.jsonl", Example)[:most]
        for split, most in (("dev", 50), ("test", 100))
    }
    difficulty = {split: rng.random(len(rows)) for split, rows in examples.items()}
    tuned, *prompts = ways
    for seed in seeds:
        for number in labels:
            answers = []
            for arm, quality in ways.items():
                reached = np.clip(quality(number) + rng.normal(0, seed_deviation), 0, 1)
                for split, rows in examples.items():
                    right = scores(rng, np.array(reached), difficulty[split])
                    answers += [
                        CurveAnswer(arm, row.id, split, row.target if score else _other(row.target), row.target, score)
                        for row, score in zip(rows, right.tolist(), strict=True)
                    ]
            folder = artifacts / "curve" / f"{number}-{seed}"
            training = CheckpointMetrics(steps=16, train_seconds_with_evaluation=40.0)
            point = CurvePoint(number, seed, "lora", tuned, prompts, {}, len(examples["dev"]), 1, training)
            write_json(folder / "point.json", point)
            write_jsonl(folder / "answers.jsonl", answers)
    return artifacts


def _other(label: str) -> str | None:
    return LABELS[(LABELS.index(label) + 1) % len(LABELS)] if label in LABELS else "WRONG"
