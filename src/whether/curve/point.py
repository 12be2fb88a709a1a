"""A point of the learning curve: what tuning and prompting reach with n labelled examples.

The stages `finetune` and `prompt` do the work, on a folder laid out like artifacts/ whose training split holds those n
examples and no others. Stage packages do not import each other, so pipelines/curve.py brings the two in as functions.
The folder lies in .state/curve/ until the point is whole: a run that was killed goes on after the last finished part,
and its training from the last checkpoint.

Writes into artifacts/curve/<labels>-<seed>/:

point.json       `whether.records.CurvePoint`
answers.jsonl    `whether.records.CurveAnswer`, a line for each arm and each example of dev and test
metrics.json     {"dev": …, "test": …}, each arm → its mean score; {} where nothing was measured
"""

import logging
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, Protocol

from whether.config import BASE, CurveConfig, ModelConfig, PromptConfig, ServingConfig, TunerConfig
from whether.curve.order import label_order
from whether.errors import ConfigError
from whether.records import (
    STATE,
    CheckpointMetrics,
    CurveAnswer,
    CurvePoint,
    Example,
    Prediction,
    Task,
    output_folder,
    read_json,
    read_jsonl,
    sha256_folder,
    sha256_json,
    to_builtins,
    write_json,
    write_jsonl,
)

logger = logging.getLogger(__name__)

ZERO_SHOT = PromptConfig(strategy={"_target_": "whether.prompt.strategies.zero_shot"}, plain=True, labels_needed=0)
"""The layout that checkpoints are tuned on."""
_QUICK = ServingConfig(requests=2, warmup=0)
"""Latency is not of interest here."""
_CODE = Path(__file__).parents[1]
_PACKAGES = ("chat", "curve", "engine", "finetune", "model", "outputs", "prompt", "served")


class TuneFunction(Protocol):
    """The stages `training_set` and `finetune`."""

    def __call__(
        self, name: str, tuner: TunerConfig | None, model: ModelConfig, seed: int, *, artifacts: Path, folder: Path
    ) -> None:
        """Make a checkpoint in `folder`."""


class AnswerFunction(Protocol):
    """whether.prompt.arm.run_arm."""

    def __call__(
        self,
        checkpoint: str,
        prompt: PromptConfig,
        model: ModelConfig,
        serving: ServingConfig,
        seed: int,
        *,
        name: str,
        artifacts: Path,
        folder: Path,
    ) -> None:
        """Answer dev and test into `folder`."""


class _Stages(NamedTuple):
    """The two stages on a folder laid out like artifacts/; a part that is there already, whole, is not made again."""

    tune: TuneFunction
    answer: AnswerFunction
    model: ModelConfig
    seed: int
    view: Path

    def checkpoint(self, name: str, tuner: TunerConfig | None, run: str) -> None:
        """Make a checkpoint. Under `run`, a name of its own, no other training's unfinished state is taken for this."""
        part = self.view / "finetune" / name
        if not part.exists():
            with output_folder(part) as folder:
                self.tune(run, tuner, self.model, self.seed, artifacts=self.view, folder=folder)

    def arm(self, checkpoint: str, prompt: PromptConfig, name: str) -> None:
        """Answer dev and test."""
        part = self.view / "prompt" / name
        if not part.exists():
            with output_folder(part) as folder:
                self.answer(
                    checkpoint, prompt, self.model, _QUICK, self.seed, name=name, artifacts=self.view, folder=folder
                )


def measure_point(
    labels: int, curve: CurveConfig, model: ModelConfig, seed: int, *, tune: TuneFunction, answer: AnswerFunction,
    artifacts: Path, folder: Path,
) -> None:  # fmt: skip
    """Tune and prompt with the first `labels` examples of the order of `seed`, and write the records into `folder`.

    A number of labels above the training split, or a checkpoint that the run does not select, gives a point that says
    so: the settings of the curve then serve tasks of every size. Raises what `tune` and `answer` raise.
    """
    name = str(curve.checkpoint)
    task = read_json(artifacts / "prepare" / "task.json", Task)
    order = read_jsonl(artifacts / "curve" / "order" / f"{seed}.jsonl", Example)
    reason = _not_measured(labels, len(order), curve)
    if curve.tuner is None or reason:
        logger.warning("curve@%d-%d: %s", labels, seed, reason)
        write_json(folder / "point.json", CurvePoint(labels, seed, name, not_measured={"all": reason}))
        write_jsonl(folder / "answers.jsonl", [])
        write_json(folder / "metrics.json", {})
        return
    splits = _answered(task, curve, artifacts / "prepare") | {"train": order[:labels]}
    key = sha256_json(_settings(curve, model, seed) | _inputs(task, splits, artifacts / "model"))
    view = STATE / "curve" / f"{labels}-{seed}-{key[:16]}"
    _lay_out(view, task, splits, artifacts / "model")
    stages, repeats = _Stages(tune, answer, model, seed, view), epoch_repeats(labels, curve.tuner, curve.min_steps)

    write_jsonl(view / "prepare" / "train.jsonl", splits["train"] * repeats)
    stages.checkpoint(name, curve.tuner, f"curve@{labels}-{seed}")
    stages.checkpoint(BASE, None, BASE)
    # The pool of a prompt holds each example once.
    write_jsonl(view / "prepare" / "train.jsonl", splits["train"])
    tuned = f"{name}-zero_shot"
    stages.arm(name, ZERO_SHOT, tuned)
    absent = _prompt(stages, curve.prompts)
    prompts = [arm for prompt in curve.prompts if (arm := f"{BASE}-{prompt}") not in absent]

    training = read_json(view / "finetune" / name / "metrics.json", CheckpointMetrics)
    point = CurvePoint(labels, seed, name, tuned, prompts, absent, len(splits["dev"]), repeats, training)
    write_json(folder / "point.json", point)
    answers = _answers(view, [tuned, *prompts])
    write_jsonl(folder / "answers.jsonl", answers)
    write_json(folder / "metrics.json", _means(answers))
    for state in view.parent.glob(f"{labels}-{seed}-*"):
        shutil.rmtree(state)


def epoch_repeats(labels: int, tuner: TunerConfig, min_steps: int) -> int:
    """Return how often an epoch shows each example: the fewest times that give `min_steps` steps in all.

    One epoch over few examples is one or two optimizer steps, too few to leave the base model. The tuner's number of
    epochs, and with it that of evaluations on dev and the shape of the schedule, stay as they are at any size.
    """
    steps_an_epoch = math.ceil(min_steps / tuner.epochs)
    return tuner.batch_size * (steps_an_epoch - 1) // labels + 1


def _not_measured(labels: int, pool: int, curve: CurveConfig) -> str:
    """Return why a point cannot be measured, or nothing."""
    if curve.tuner is None:
        return f"the run does not select the checkpoint {curve.checkpoint}"
    return f"the training split holds {pool} examples" if labels > pool else ""


def _answered(task: Task, curve: CurveConfig, prepared: Path) -> dict[str, list[Example]]:
    """Return the examples of dev and test, the same ones for every seed: seeds differ by labels and training alone."""
    most_of = {"dev": curve.dev, "test": curve.test}
    rows = {split: read_jsonl(prepared / f"{split}.jsonl", Example) for split in most_of}
    return {split: label_order(task, rows[split], split)[:most] for split, most in most_of.items()}


def _settings(curve: CurveConfig, model: ModelConfig, seed: int) -> dict[str, Any]:
    """Return the settings that determine a point: with its inputs, they tell which unfinished work is its own."""
    return {
        "tuner": to_builtins(curve.tuner),
        "prompts": {name: to_builtins(prompt) for name, prompt in curve.prompts.items()},
        "min_steps": curve.min_steps,
        "seed": seed,
        "dtype": model.dtype,
    }


def _inputs(task: Task, splits: Mapping[str, list[Example]], model_folder: Path) -> dict[str, Any]:
    """Return the rest that determines a point: examples, weights and code."""
    return {
        "task": to_builtins(task),
        "splits": {split: [to_builtins(example) for example in rows] for split, rows in splits.items()},
        "model": sha256_folder(model_folder),
        "code": [sha256_folder(_CODE / package, "**/*.py") for package in _PACKAGES],
    }


def _lay_out(view: Path, task: Task, splits: Mapping[str, list[Example]], model_folder: Path) -> None:
    """Lay a folder out like artifacts/: the model, the task, and splits of these examples."""
    write_json(view / "prepare" / "task.json", task)
    for split, rows in splits.items():
        write_jsonl(view / "prepare" / f"{split}.jsonl", rows)
    if not (view / "model").exists():
        (view / "model").symlink_to(model_folder.resolve())


def _prompt(stages: _Stages, prompts: Mapping[str, PromptConfig | None]) -> dict[str, str]:
    """Run base with each prompt; return the arms that could not be run, and why (a prompt may need more labels)."""
    absent = {}
    for prompt, settings in prompts.items():
        arm = f"{BASE}-{prompt}"
        if settings is None:
            absent[arm] = f"the run does not select the prompt {prompt}"
            continue
        try:
            stages.arm(BASE, settings, arm)
        except ConfigError as error:
            logger.warning("%s is not measured: %s", arm, error)
            absent[arm] = str(error)
    return absent


def _answers(view: Path, arms: Iterable[str]) -> list[CurveAnswer]:
    return [
        CurveAnswer(arm, row.id, row.split, row.answer, row.target, row.score)
        for arm in arms
        for row in read_jsonl(view / "prompt" / arm / "predictions.jsonl", Prediction)
    ]


def _means(answers: Iterable[CurveAnswer]) -> dict[str, dict[str, float]]:
    scores: dict[str, dict[str, list[float]]] = {}
    for row in answers:
        scores.setdefault(row.split, {}).setdefault(row.arm, []).append(row.score)
    return {split: {arm: fmean(found) for arm, found in arms.items()} for split, arms in scores.items()}
