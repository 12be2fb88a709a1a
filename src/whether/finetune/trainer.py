"""transformers' Trainer on shared-prefix batches: it keeps the loop, the schedule, checkpoints and resuming.

What is ours: the loss on answer tokens, the score on dev that chooses the best checkpoint, when dev is measured, what
is logged of each step, and when a checkpoint counts. Imports torch and transformers: import it where it is used.
"""

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch.nn.functional import cross_entropy
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from whether.config import TunerConfig
from whether.engine.memory import peak_memory
from whether.errors import EngineError
from whether.finetune import attention, checkpoints
from whether.finetune.data import Row
from whether.finetune.fused_lora import fuse
from whether.finetune.metering import EnergyMeter, counted_flops
from whether.finetune.packing import IGNORED, Batch, Collator, answer_logits, computed_tokens

logger = logging.getLogger(__name__)

_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Largest difference in log-probability that rounding explains, by precision of the model."""


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """Trainer whose batches come from `Collator` and whose loss is the mean over the answer tokens of a batch."""

    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, compute_metrics=dev_metrics, **kwargs)
        self._started: float | None = None
        self._tokens = self._computed = self._flops = 0
        self._meter = EnergyMeter(self.args.device)

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the summed loss over `num_items_in_batch`, the answer tokens of the whole step."""
        losses, _ = answer_scores(model, inputs)
        count = num_items_in_batch if num_items_in_batch is not None else inputs["labels"].ne(IGNORED).sum()
        # The count is that of all processes, and their gradients are averaged.
        loss = losses.sum() / count * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Any:
        """Train on one batch, and count what it takes."""
        if self._started is None:
            self._started = time.perf_counter()
            self._meter.start()
        self._tokens += inputs["tokens"]
        self._computed += computed_tokens(inputs)
        if self.state.global_step > 0:
            return super().training_step(model, inputs, num_items_in_batch)
        with counted_flops() as counter:
            loss = super().training_step(model, inputs, num_items_in_batch)
        self._flops += counter.get_total_flops()
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate, and measure what it takes."""
        self._meter.start()
        return super().evaluate(*args, **kwargs)  # type: ignore[no-any-return]

    def prediction_step(
        self,
        model: Any,
        inputs: Batch,
        prediction_loss_only: bool,  # noqa: ARG002 - Trainer's signature
        ignore_keys: list[str] | None = None,  # noqa: ARG002
    ) -> tuple[None, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return for each example the summed loss, the answer tokens predicted right, and their number."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            losses, right = answer_scores(model, inputs)
        return None, (losses, right), answer_counts(inputs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log a step or an evaluation with what it took; a loss that is not a number ends training."""
        for key in ("loss", "grad_norm", "eval_loss"):
            if not math.isfinite(logs.get(key, 0.0)):
                raise EngineError(
                    f"training diverged: {key} is {logs[key]} at step {self.state.global_step} of"
                    f" {self.state.max_steps}; lower tuner.learning_rate (it is {self.args.learning_rate:g}),"
                    " for example to a third"
                )
        if "loss" in logs and self._started is not None:
            seconds = time.perf_counter() - self._started
            logs |= {"tokens": self._tokens, "computed_tokens": self._computed, "seconds": seconds}
            logs |= {"flops": self._step_flops(), "energy": self._meter.joules()}  # type: ignore[dict-item]
            self._started, self._tokens, self._computed = None, 0, 0
        if "eval_loss" in logs:
            logs |= {"peak_memory": peak_memory(), "peak_device_memory": peak_device_memory()}  # type: ignore[dict-item]
            logs["eval_energy"] = self._meter.joules()  # type: ignore[assignment]
        super().log(logs, start_time)

    def _step_flops(self) -> float:
        """Return the operations of a step: counted in the first one, which later ones follow by computed tokens."""
        first = next((entry for entry in self.state.log_history if "flops" in entry), None)
        return float(self._flops if first is None else first["flops"] * self._computed / first["computed_tokens"])


def answer_scores(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each example its summed loss, float32, and how many answer tokens are the likeliest ones."""
    labels = batch["labels"]
    logits = answer_logits(model, batch)
    owners, columns = labels.ne(IGNORED).nonzero(as_tuple=True)
    answers = labels[owners, columns]
    losses = logits.new_zeros(len(labels)).index_add(0, owners, cross_entropy(logits, answers, reduction="none"))
    right = (logits.argmax(dim=-1) == answers).long()
    return losses, labels.new_zeros(len(labels)).index_add(0, owners, right)


def answer_counts(batch: Batch) -> torch.Tensor:
    """Return how many answer tokens each example has."""
    counts: torch.Tensor = batch["labels"].ne(IGNORED).sum(dim=1)
    return counts


def dev_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Return loss and accuracy over all examples, and the score that chooses the best checkpoint.

    The score orders by exactly answered examples, which is what greedy decoding will be measured by, and then by loss:
    few examples give many ties, and among those the surer model is the better guess. It is their number minus a
    monotone function of the loss in [0, 1), so that the loss can never outweigh an example.
    """
    losses, right = prediction.predictions
    tokens = prediction.label_ids
    loss, exact = float(losses.sum() / tokens.sum()), right == tokens
    return {
        "loss": loss,
        "token_accuracy": float(right.sum() / tokens.sum()),
        "exact": float(exact.mean()),
        "score": float(exact.sum() - loss / (1 + loss)),
    }


class Schedule(TrainerCallback):  # type: ignore[misc]
    """Evaluates and saves `count` times, evenly spread, and always after the last step."""

    def __init__(self, count: int):
        self.count = count

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Ask for evaluation and checkpoint where one of `count` equal parts of training ends."""
        done, before = (step * self.count // state.max_steps for step in (state.global_step, state.global_step - 1))
        control.should_evaluate = control.should_save = done > before


class Seal(TrainerCallback):  # type: ignore[misc]
    """Seals each checkpoint once it is whole, then deletes all but it and the best one."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Seal what Trainer has just written."""
        folder = Path(args.output_dir)
        checkpoint = folder / f"checkpoint-{state.global_step}"
        checkpoints.seal(checkpoint)
        checkpoints.keep_only(folder, {checkpoint, Path(state.best_model_checkpoint)})


class Bar(ProgressCallback):  # type: ignore[misc]
    """Trainer's progress bar on standard error, with the losses beside it, not a line a step on standard output."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Show the latest losses."""
        if self.training_bar is not None:
            shown = {"loss": "loss", "eval_loss": "dev_loss", "eval_exact": "dev_exact"}
            latest = {shown[key]: entry[key] for entry in state.log_history for key in shown.keys() & entry.keys()}
            self.training_bar.set_postfix({key: f"{value:.3g}" for key, value in latest.items()}, refresh=False)


def make_trainer(
    model: Any, tuner: TunerConfig, train: Sequence[Row], dev: Sequence[Row], *, seed: int, cpu: bool, output_dir: Path
) -> AnswerTrainer:
    """Return a trainer with its schedule, early stopping and packing set up; checkpoints go to `output_dir`."""
    arguments = make_arguments(tuner, len(train), seed=seed, cpu=cpu, output_dir=output_dir)
    schedule = Schedule(tuner.epochs * tuner.evaluations_per_epoch)
    callbacks = [schedule, EarlyStoppingCallback(tuner.patience), Seal(), Bar()]
    trainer = AnswerTrainer(model, arguments, train_dataset=train, eval_dataset=dev, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    fuse(model)
    trainer.data_collator = make_collator(model, [*train, *dev])
    return trainer


def make_arguments(tuner: TunerConfig, examples: int, *, seed: int, cpu: bool, output_dir: Path) -> TrainingArguments:
    """Return Trainer's settings for training on so many examples."""
    steps = math.ceil(examples / tuner.batch_size) * tuner.epochs
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=tuner.epochs,
        per_device_train_batch_size=tuner.batch_size,
        per_device_eval_batch_size=2 * tuner.batch_size,
        learning_rate=tuner.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(tuner.warmup_ratio * steps),
        optim="adamw_torch",
        weight_decay=tuner.weight_decay,
        max_grad_norm=tuner.max_grad_norm,
        seed=seed,
        data_seed=seed,
        use_cpu=cpu,
        # `Schedule` asks for evaluations and checkpoints, so that the last step has one; these only switch them on.
        eval_strategy="steps",
        eval_steps=steps + 1,
        save_strategy="steps",
        save_steps=steps + 1,
        metric_for_best_model="score",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        # `Bar` shows progress in place of Trainer's own callbacks, which print a line a step.
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
    )
    # Otherwise Trainer would spread each batch over all GPUs of the machine.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def make_collator(model: Any, rows: Sequence[Row]) -> Collator:
    """Return the fastest collator that gives this model the numbers of padded batches; the padding one says so.

    In turn: packed with attention in blocks, packed with a mask, padded. Each is run on the longest and the shortest
    rows: a model that ignores the mask, restarts positions by itself, or looks at a sliding window shorter than the
    longest row answers differently.
    """
    dtype = next(model.parameters()).dtype
    by_length = sorted(rows, key=lambda row: len(row.prompt) + len(row.answer))
    sample = [*by_length[:2], *by_length[-2:]]
    base = model.get_base_model()
    usual = base.config._attn_implementation
    expected = _token_losses(model, sample, Collator(False, dtype))
    attention.register()
    for blocks in (True, False):
        base.set_attn_implementation(attention.NAME if blocks else usual)
        collator = Collator(True, dtype, blocks)
        try:
            difference = float((_token_losses(model, sample, collator) - expected).abs().max())
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            logger.log(logging.DEBUG if blocks else logging.WARNING, "packed batches are refused: %s", error)
            difference = math.inf
        if difference <= _TOLERANCE[dtype]:
            return collator
    logger.warning(
        "%s cannot share prefixes (log-probabilities differ by %.2g): padded batches are used, which take longer",
        type(base).__name__,
        difference,
    )
    return Collator(False, dtype)


def _token_losses(model: Any, rows: Sequence[Row], collator: Collator) -> torch.Tensor:
    """Return each example's loss per token."""
    was_training = model.training
    model.eval()
    try:
        batch = send_to_device(collator(rows), model.device)
        with torch.no_grad():
            losses = answer_scores(model, batch)[0]
        return losses / answer_counts(batch)
    finally:
        model.train(was_training)


def peak_device_memory() -> int | None:
    """Return the most memory that tensors have had on the accelerator, in bytes; None on CPU."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
