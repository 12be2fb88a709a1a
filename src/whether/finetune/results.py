"""What the finetune stage leaves in artifacts/finetune/<checkpoint>/, file by file.

- checkpoint/checkpoint.json: `CheckpointRecord`
- metrics.json: `CheckpointMetrics`

and of a tuned one:

- checkpoint/adapter/: peft's adapter_config.json and adapter_model.safetensors, the weights at the best step; or, where
  no adapter was trained, checkpoint/weights.safetensors: the trained weights by name
- history.jsonl: `Step` and `Evaluation` of whether.finetune.results, a line each
- loss.csv: step, split (train or dev), loss
- loss.svg: the same, drawn

checkpoint/ is all that the stages after this one read: it holds no times, so training again to the same weights reruns
none of them.
"""

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from whether.config import ModelConfig, ServedConfig, TunerConfig
from whether.finetune.dev_answers import DevAnswers
from whether.model.loading import WEIGHTS_FILE
from whether.records import (
    CHECKPOINT,
    CheckpointKind,
    CheckpointMetrics,
    CheckpointRecord,
    CollapseRetry,
    Evaluation,
    Step,
    named_write_errors,
    sum_known,
    write_csv,
    write_json,
    write_jsonl,
)

logger = logging.getLogger(__name__)


ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class TrainingHistory:
    """Steps and evaluations in order."""

    steps: list[Step]
    evaluations: list[Evaluation]


class TrainingResult(NamedTuple):
    """How training ended."""

    best: Path
    """The best checkpoint's folder."""
    best_step: int
    history: TrainingHistory
    stopped_early: bool
    trainable_parameters: int
    shared_prefix: bool
    train_rows: int
    dev_rows: int
    kind: CheckpointKind
    labels: list[str] | None
    answers: DevAnswers | None = None
    """To dev, of the best checkpoint; None where they were not looked at."""
    retry: CollapseRetry | None = None
    """What came of a second training; None: there was none."""
    discarded: "TrainingResult | None" = None
    """The other one of two trainings, of which only the costs count."""

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
        "served", name, served.model, seed, disk=0, trainable_parameters=0, base_url=served.base_url,
        served={key: value for key, value in dataclasses.asdict(served).items() if key not in ("price", "max_cost")},
    )  # fmt: skip
    _write_untuned(record, folder)


def _write_untuned(record: CheckpointRecord, folder: Path) -> None:
    write_json(folder / CHECKPOINT / "checkpoint.json", record)
    nothing = CheckpointMetrics(trained_tokens=0, computed_tokens=0, flops=0.0)
    write_json(folder / "metrics.json", nothing)


def write_weights(trained: TrainingResult, base: str, folder: Path) -> int:
    """Write what the best checkpoint puts on the base into a folder; return how many bytes that takes."""
    if trained.kind == "adapter":
        write_adapter(trained.best, base, folder / "adapter")
        return sum(file.stat().st_size for file in (folder / "adapter").iterdir())
    target = folder / WEIGHTS_FILE
    with named_write_errors(target):
        shutil.copyfile(trained.best / "model.safetensors", target)
    return target.stat().st_size


def write_adapter(best: Path, base: str, folder: Path) -> None:
    """Copy the adapter of a checkpoint, with settings that are the same on every machine.

    peft would name the base by its path, and write a set of module names in an order that changes from run to run.
    """
    with named_write_errors(folder):
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
    name: str, tuner: TunerConfig, model: ModelConfig, seed: int, *, trained: TrainingResult, folder: Path
) -> None:
    """Write weights, records and history of a tuned checkpoint."""
    checkpoint = folder / CHECKPOINT
    with named_write_errors(checkpoint):
        checkpoint.mkdir()
    disk = write_weights(trained, model.name, checkpoint)
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
        retry=trained.retry,
    )
    write_json(checkpoint / "checkpoint.json", record)
    write_history(trained.history, folder)
    write_json(folder / "metrics.json", metrics(tuner, trained))
    best = trained.best_evaluation
    logger.info(
        "%s: step %d of %d kept: dev loss %.3g, %.1f%% of dev answered exactly; %.0f s of training",
        name, best.step, len(steps), best.dev_loss, 100 * best.dev_exact, sum(step.seconds for step in steps),
    )  # fmt: skip


def metrics(tuner: TunerConfig, trained: TrainingResult) -> CheckpointMetrics:
    """Sum up what training took, the discarded one of two included."""
    trainings = [trained] if trained.discarded is None else [trained, trained.discarded]
    steps = [step for one in trainings for step in one.history.steps]
    evaluations = [found for one in trainings for found in one.history.evaluations]
    measured: list[Evaluation | DevAnswers] = [*evaluations, *(one.answers for one in trainings if one.answers)]
    best = trained.best_evaluation
    seconds = sum(step.seconds for step in steps)
    tokens = sum(step.tokens for step in steps)
    examples = sum(_examples(tuner, one) for one in trainings)
    on_device = [item.peak_device_memory for item in evaluations if item.peak_device_memory is not None]
    return CheckpointMetrics(
        labels_used=trained.train_rows,
        dev_labels_used=trained.dev_rows,
        steps=len(steps),
        examples=examples,
        trained_tokens=tokens,
        computed_tokens=sum(step.computed_tokens for step in steps),
        train_seconds=seconds,
        train_seconds_with_evaluation=seconds + sum(found.seconds for found in measured),
        flops=sum(step.flops for step in steps),
        energy=sum_known([*(step.energy for step in steps), *(found.energy for found in measured)]),
        tokens_per_second=tokens / seconds,
        examples_per_second=examples / seconds,
        peak_memory=max(evaluation.peak_memory for evaluation in evaluations),
        peak_device_memory=max(on_device, default=None),
        dev_loss=best.dev_loss,
        dev_token_accuracy=best.dev_token_accuracy,
        dev_exact=best.dev_exact,
    )


def _examples(tuner: TunerConfig, trained: TrainingResult) -> int:
    """Return how many examples one training went through, repetitions included."""
    epochs, batches = divmod(len(trained.history.steps), -(-trained.train_rows // tuner.batch_size))
    return epochs * trained.train_rows + batches * tuner.batch_size


def from_log(log: Iterable[dict[str, Any]]) -> TrainingHistory:
    """Read Trainer's log: it is saved with each checkpoint, so no step of a resumed run is lost or doubled."""
    steps, evaluations = list[Step](), list[Evaluation]()
    for entry in log:
        if "loss" in entry:
            steps.append(Step(**{key: entry[key] for key in Step.__dataclass_fields__}))
        elif "eval_loss" in entry:
            evaluations.append(
                Evaluation(
                    step=entry["step"],
                    epoch=entry["epoch"],
                    dev_loss=entry["eval_loss"],
                    dev_token_accuracy=entry["eval_token_accuracy"],
                    dev_exact=entry["eval_exact"],
                    seconds=entry["eval_runtime"],
                    energy=entry["eval_energy"],
                    peak_memory=entry["peak_memory"],
                    peak_device_memory=entry["peak_device_memory"],
                )
            )
    return TrainingHistory(steps, evaluations)


def write_history(history: TrainingHistory, folder: Path) -> None:
    """Write history.jsonl, loss.csv (step, split, loss) and loss.svg."""
    lines: list[Step | Evaluation] = [*history.steps, *history.evaluations]
    write_jsonl(folder / "history.jsonl", sorted(lines, key=lambda line: (line.step, isinstance(line, Evaluation))))
    losses = [{"step": step.step, "split": "train", "loss": step.loss} for step in history.steps]
    losses += [{"step": found.step, "split": "dev", "loss": found.dev_loss} for found in history.evaluations]
    write_csv(folder / "loss.csv", losses)
    _plot(history, folder / "loss.svg")


def _plot(history: TrainingHistory, path: Path) -> None:
    """Draw both losses; the same history gives the same bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "whether", "svg.fonttype": "none"}), named_write_errors(path):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([s.step for s in history.steps], [s.loss for s in history.steps], label="train", linewidth=1)
        axes.plot([e.step for e in history.evaluations], [e.dev_loss for e in history.evaluations], "o-", label="dev")
        axes.set(xlabel="optimizer step", ylabel="loss (nats per answer token)", yscale="log")
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})
