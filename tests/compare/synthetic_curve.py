"""A synthetic learning curve in the layout that the curve stage writes, with chosen qualities."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from synthetic_study import LABELS, generations

from whether.records import (
    CurveArm,
    CurvePoint,
    Example,
    Generations,
    read_jsonl,
    to_builtins,
    write_json,
    write_jsonl,
)

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
            answers: dict[str, list[Generations]] = {}
            for arm, quality in ways.items():
                reached = np.clip(quality(number) + rng.normal(0, seed_deviation), 0, 1)
                for split, rows in examples.items():
                    right = scores(rng, np.array(reached), difficulty[split])
                    answers.setdefault(arm, []).extend(
                        generations(row.id, split, row.target if score else _other(row.target))
                        for row, score in zip(rows, right.tolist(), strict=True)
                    )
            point = CurvePoint(number, seed, "lora", tuned, prompts, {}, len(examples["dev"]), 1)
            write_json(artifacts / "curve" / "data" / f"{number}-{seed}" / "point.json", point)
            folder = artifacts / "curve" / "generate" / f"{number}-{seed}"
            arms = [CurveArm(arm, arm.split("-")[1], tuned=arm == tuned) for arm in ways]
            write_json(folder / "arms.json", [to_builtins(arm) for arm in arms])
            for arm, lines in answers.items():
                write_jsonl(folder / f"{arm}.jsonl", [line.as_line() for line in lines])
    return artifacts


def _other(label: str) -> str:
    return LABELS[(LABELS.index(label) + 1) % len(LABELS)] if label in LABELS else "WRONG"
