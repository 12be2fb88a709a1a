"""What the finetune stage leaves in artifacts/finetune/<checkpoint>/, file by file.

- checkpoint.json: `CheckpointRecord`
- metrics.json: `FinetuneMetrics`

and of a tuned one:

- adapter/: peft's adapter_config.json and adapter_model.safetensors, the weights at the best step; or, where no adapter
  was trained, weights.safetensors: the trained weights by name
- history.jsonl: `Step` and `Evaluation` of whether.finetune.history, a line each
- loss.csv: step, split (train or dev), loss
- loss.svg: the same, drawn
"""

import dataclasses
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from whether.config import ModelConfig, ServedConfig, TunerConfig
from whether.finetune.history import Evaluation, History, write_history
from whether.model.loading import WEIGHTS_FILE
from whether.records import write_json, writing

logger = logging.getLogger(__name__)

Kind = Literal["base", "adapter", "weights", "head", "served"]
"""Kinds of checkpoint."""

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class CheckpointRecord:
    """What a checkpoint is: checkpoint.json."""

    kind: Kind
    """What is put on the base model: `base`: nothing; `adapter`: peft's, in adapter/; `weights`: those of
    weights.safetensors in place of its own; `head`: a linear classifier of `labels` in place of its output head;
    `served`: another model answers, and nothing of it is here."""
    name: str
    model: str
    """Name of the base model, or of the served one."""
    seed: int
    disk: int
    """Bytes that are stored beside the base model."""
    trainable_parameters: int
    tuner: dict[str, Any] | None = None
    """The settings; None where nothing was tuned."""
    base_url: str | None = None
    """Address of a served model's API."""
    dtype: str | None = None
    """Precision of the base model in training."""
    shared_prefix: bool | None = None
    """Whether tokens that all examples share were computed once; False where the model cannot."""
    steps: int | None = None
    """Optimizer steps that were made."""
    best_step: int | None = None
    """The step whose weights are kept: the best on dev."""
    stopped_early: bool | None = None
    labels: list[str] | None = None
    """What the rows of a head stand for."""
    micro_batch_size: int | None = None
    """Examples that went through the model at once, at most, where memory was least: halved whenever it ran out."""


@dataclass(frozen=True)
class FinetuneMetrics:
    """What a checkpoint took and how well it does on dev: metrics.json.

    Costs are those of the steps that led to the result: steps that a killed run had to repeat count once.
    """

    labels_used: int
    """Rows trained on."""
    dev_labels_used: int
    """Rows that chose the best step."""
    steps: int
    examples: int
    """Trained on, repetitions included."""
    trained_tokens: int
    """Of prompts and answers, as they are counted in requests, repetitions included."""
    computed_tokens: int
    """Positions that were computed for them: the shared prefix counts once a batch."""
    train_seconds: float
    """Wall time of the optimizer steps."""
    train_seconds_with_evaluation: float
    """The same and that of the evaluations on dev."""
    flops: float | None = None
    """Floating-point operations of the optimizer steps, as whether.model.metering counts them; 0 for base."""
    energy: float | None = None
    """Joules of the optimizer steps and the evaluations on dev; None where the machine does not tell."""
    tokens_per_second: float | None = None
    """`trained_tokens` over `train_seconds`."""
    examples_per_second: float | None = None
    peak_memory: int | None = None
    """Bytes of resident memory of the process."""
    peak_device_memory: int | None = None
    """Bytes allocated on the accelerator; None without one."""
    dev_loss: float | None = None
    """Of the kept weights: mean over the answer tokens of dev."""
    dev_token_accuracy: float | None = None
    dev_exact: float | None = None
    """Share of dev examples answered exactly by greedy decoding."""


class Trained(NamedTuple):
    """How training ended."""

    best: Path
    """The best checkpoint's folder."""
    best_step: int
    history: History
    stopped_early: bool
    trainable_parameters: int
    shared_prefix: bool
    train_rows: int
    dev_rows: int
    kind: Kind
    labels: list[str] | None

    @property
    def best_evaluation(self) -> Evaluation:
        """The evaluation after the best step."""
        return next(item for item in self.history.evaluations if item.step == self.best_step)


def write_base(name: str, model: str, seed: int, folder: Path) -> None:
    """Write the records of the base model: nothing was spent on it, and how it does on dev was not measured here."""
    _write_untuned(CheckpointRecord("base", name, model, seed, disk=0, trainable_parameters=0), folder)


def write_served(name: str, served: ServedConfig, seed: int, folder: Path) -> None:
    """Write the records of a served model: what determines its answers, and that nothing was spent on it."""
    record = CheckpointRecord(
        "served", name, served.model, seed, disk=0, trainable_parameters=0, base_url=served.base_url
    )
    _write_untuned(record, folder)


def _write_untuned(record: CheckpointRecord, folder: Path) -> None:
    write_json(folder / "checkpoint.json", record)
    nothing = FinetuneMetrics(
        labels_used=0,
        dev_labels_used=0,
        steps=0,
        examples=0,
        trained_tokens=0,
        computed_tokens=0,
        train_seconds=0.0,
        train_seconds_with_evaluation=0.0,
        flops=0.0,
    )
    write_json(folder / "metrics.json", nothing)


def write_weights(trained: Trained, base: str, folder: Path) -> int:
    """Write what the best checkpoint puts on the base into a folder; return how many bytes that takes."""
    if trained.kind == "adapter":
        write_adapter(trained.best, base, folder / "adapter")
        return sum(file.stat().st_size for file in (folder / "adapter").iterdir())
    target = folder / WEIGHTS_FILE
    with writing(target):
        shutil.copyfile(trained.best / "model.safetensors", target)
    return target.stat().st_size


def write_adapter(best: Path, base: str, folder: Path) -> None:
    """Copy the adapter of a checkpoint, with settings that are the same on every machine.

    peft would name the base by its path, and write a set of module names in an order that changes from run to run.
    """
    with writing(folder):
        folder.mkdir()
        for file in ADAPTER_FILES:
            shutil.copyfile(best / file, folder / file)
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    for key in ("target_modules", "feedforward_modules"):
        if isinstance(settings.get(key), list):
            settings[key].sort()
    names = {key: base for key in ("base_model_name_or_path", "tokenizer_name_or_path") if settings.get(key)}
    write_json(folder / "adapter_config.json", settings | names)


def write_tuned(
    name: str, tuner: TunerConfig, model: ModelConfig, seed: int, *, trained: Trained, folder: Path
) -> None:
    """Write weights, records and history of a tuned checkpoint."""
    disk = write_weights(trained, model.name, folder)
    steps = trained.history.steps
    record = CheckpointRecord(
        kind=trained.kind,
        name=name,
        model=model.name,
        seed=seed,
        disk=disk,
        trainable_parameters=trained.trainable_parameters,
        tuner=dataclasses.asdict(tuner),
        dtype=model.dtype,
        shared_prefix=trained.shared_prefix,
        steps=len(steps),
        best_step=trained.best_step,
        stopped_early=trained.stopped_early,
        labels=trained.labels,
        micro_batch_size=min(step.micro_batch_size for step in steps),
    )
    write_json(folder / "checkpoint.json", record)
    write_history(trained.history, folder)
    write_json(folder / "metrics.json", metrics(tuner, trained))
    best = trained.best_evaluation
    logger.info(
        "%s: step %d of %d kept: dev loss %.3g, %.1f%% of dev answered exactly; %.0f s of training",
        name, best.step, len(steps), best.dev_loss, 100 * best.dev_exact, sum(step.seconds for step in steps),
    )  # fmt: skip


def total(values: Sequence[float | None]) -> float | None:
    """Return a sum; None if one of the values was not measured."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def metrics(tuner: TunerConfig, trained: Trained) -> FinetuneMetrics:
    """Sum up what training took."""
    steps, evaluations = trained.history.steps, trained.history.evaluations
    best = trained.best_evaluation
    seconds = sum(step.seconds for step in steps)
    tokens = sum(step.tokens for step in steps)
    epochs, batches = divmod(len(steps), -(-trained.train_rows // tuner.batch_size))
    examples = epochs * trained.train_rows + batches * tuner.batch_size
    on_device = [item.peak_device_memory for item in evaluations if item.peak_device_memory is not None]
    return FinetuneMetrics(
        labels_used=trained.train_rows,
        dev_labels_used=trained.dev_rows,
        steps=len(steps),
        examples=examples,
        trained_tokens=tokens,
        computed_tokens=sum(step.computed_tokens for step in steps),
        train_seconds=seconds,
        train_seconds_with_evaluation=seconds + sum(evaluation.seconds for evaluation in evaluations),
        flops=sum(step.flops for step in steps),
        energy=total([*(step.energy for step in steps), *(evaluation.energy for evaluation in evaluations)]),
        tokens_per_second=tokens / seconds,
        examples_per_second=examples / seconds,
        peak_memory=max(evaluation.peak_memory for evaluation in evaluations),
        peak_device_memory=max(on_device, default=None),
        dev_loss=best.dev_loss,
        dev_token_accuracy=best.dev_token_accuracy,
        dev_exact=best.dev_exact,
    )
