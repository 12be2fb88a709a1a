"""The curve_data stage: what the points of the learning curve are tuned on and asked.

A point is a training set and requests on a part of the labels: the first n of an order that is drawn for each seed, so
that smaller subsets are nested in larger ones. Each label's examples are ordered by the hash of seed and id, and the
labels are interleaved by the method of Sainte-Laguë: the i-th example (from 0) of a label with N examples stands at
(i + 1/2) / N. So every beginning of the order holds the labels in proportion, each to within one example or so, and a
longer beginning contains a shorter one; the largest remainders by which `prepare` shares out splits would not be nested
(the Alabama paradox; Balinski and Young 1982).

Writes into artifacts/curve/data/<labels>-<seed>/ (with `curve=none` nothing but artifacts/curve/data/pool.json, which
holds how many examples there are to draw from):

point.json       `whether.records.CurvePoint`
training_set/    as in artifacts/training_set/<checkpoint>
requests/        arms.json, and <arm>.jsonl of each arm: `whether.records.Request`
"""

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from whether.config import BASE, CurveConfig, PromptConfig, TunerConfig
from whether.errors import ConfigError
from whether.prompt.build import build_prompt
from whether.prompt.requests import PromptInputs, arm_requests
from whether.prompt.training import write_training_rows
from whether.records import (
    CurveArm,
    CurvePoint,
    Example,
    Request,
    Task,
    read_json,
    read_jsonl,
    to_builtins,
    write_json,
    write_jsonl,
)

logger = logging.getLogger(__name__)

ZERO_SHOT = PromptConfig(
    strategy={"_target_": "whether.prompt.strategies.zero_shot"},
    decoding={"_target_": "whether.outputs.decoding.constrained"},
    engineered=False,
    labels_needed=0,
)
"""The layout that checkpoints are tuned on, constrained as the prompts are that they are compared with."""


def write_curve_data(curve: CurveConfig, *, prepared: Path, folder: Path) -> None:
    """Write every point of a curve from artifacts/prepare into `folder`.

    A number of labels above the training split, or a checkpoint that the run does not select, gives a point that says
    so: the settings of the curve then serve tasks of every size.
    """
    task = read_json(prepared / "task.json", Task)
    examples = read_jsonl(prepared / "train.jsonl", Example)
    write_json(folder / "pool.json", {"examples": len(examples)})
    dev, test = (
        # The same ones for every seed: seeds differ by labels and training alone.
        label_order(task, read_jsonl(prepared / f"{split}.jsonl", Example), split)[:most]
        for split, most in (("dev", curve.dev), ("test", curve.test))
    )
    for seed in curve.seeds:
        order = label_order(task, examples, seed)
        for labels in curve.labels:
            inputs = PromptInputs(task, order[:labels], dev, test, None, [])
            _write_point(labels, seed, curve, inputs, folder / f"{labels}-{seed}")


def label_order(task: Task, examples: Sequence[Example], seed: int | str) -> list[Example]:
    """Return the examples in a seeded order that is stratified by label; it depends on their ids, not their order."""
    strata: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda example: _rank(example, seed)):
        strata[example.target if task.labels else ""].append(example)
    placed = [
        ((index + 0.5) / len(stratum), _rank(example, seed), example)
        for stratum in strata.values()
        for index, example in enumerate(stratum)
    ]
    return [example for _, _, example in sorted(placed, key=lambda place: place[:2])]


def epoch_repeats(labels: int, tuner: TunerConfig, min_steps: int) -> int:
    """Return how often an epoch shows each example: the fewest times that give `min_steps` steps in all.

    One epoch over few examples is one or two optimizer steps, too few to leave the base model. The tuner's number of
    epochs, and with it that of evaluations on dev and the shape of the schedule, stay as they are at any size.
    """
    steps_an_epoch = math.ceil(min_steps / tuner.epochs)
    return tuner.batch_size * (steps_an_epoch - 1) // labels + 1


def _write_point(labels: int, seed: int, curve: CurveConfig, inputs: PromptInputs, folder: Path) -> None:
    name, reason = str(curve.checkpoint), _not_measured(labels, len(inputs.pool), curve)
    arms, repeats = list[CurveArm](), None
    point = CurvePoint(labels, seed, name, not_measured={"all": reason})
    if curve.tuner and not reason:
        repeats = epoch_repeats(labels, curve.tuner, curve.min_steps)
        tuned = f"{name}-zero_shot"
        arms = [CurveArm(tuned, "zero_shot", tuned=True)]
        _write_requests(_requests("zero_shot", ZERO_SHOT, seed, inputs), folder, tuned)
        absent = {}
        for prompt, settings in curve.prompts.items():
            arm = f"{BASE}-{prompt}"
            try:
                _write_requests(_requests(prompt, settings, seed, inputs), folder, arm)
                arms.append(CurveArm(arm, prompt, tuned=False))
            except ConfigError as error:
                logger.warning("%s is not measured: %s", arm, error)
                absent[arm] = str(error)
        prompts = [arm.name for arm in arms if not arm.tuned]
        point = CurvePoint(labels, seed, name, tuned, prompts, absent, len(inputs.dev), repeats)
    else:
        logger.warning("curve point %d-%d: %s", labels, seed, reason)
    write_json(folder / "point.json", point)
    write_json(folder / "requests" / "arms.json", [to_builtins(arm) for arm in arms])
    rows = {"train": inputs.pool * (repeats or 0), "dev": inputs.dev}
    tuner = curve.tuner if arms else None
    training_set = folder / "training_set"
    write_training_rows(name, tuner, seed, inputs.task, pool=inputs.pool, splits=rows, folder=training_set)


def _not_measured(labels: int, pool: int, curve: CurveConfig) -> str:
    """Return why a point cannot be measured, or nothing."""
    if curve.tuner is None:
        return f"the run does not select the checkpoint {curve.checkpoint}"
    return f"the training split holds {pool} examples" if labels > pool else ""


def _requests(name: str, settings: PromptConfig | None, seed: int, inputs: PromptInputs) -> list[Request]:
    """Return what a prompt asks. Raises ConfigError where it cannot be built: it may need more labels."""
    if settings is None:
        raise ConfigError(f"the run does not select the prompt {name}")
    build = partial(build_prompt, name, settings, seed=seed)
    strategy, decoding = build(task=inputs.task, pool=inputs.pool)
    return arm_requests(build, strategy, decoding, inputs)


def _write_requests(requests: Sequence[Request], folder: Path, arm: str) -> None:
    write_jsonl(folder / "requests" / f"{arm}.jsonl", [one.as_line() for one in requests])


def _rank(example: Example, seed: int | str) -> str:
    """Return a hash that has nothing to do with the one by which `prepare` makes its splits."""
    return hashlib.sha256(f"curve:{seed}:{example.id}".encode()).hexdigest()
