"""transformers' Trainer on shared-prefix batches: it keeps the loop, the schedule, checkpoints and resuming.

What is ours: the loss on answer tokens, how a step's rows go through the model and are shared by processes, the score
on dev that chooses the best checkpoint, and what is logged of each step.

Imports torch and transformers: import it where it is used.
"""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments
from transformers.utils import SAFE_WEIGHTS_NAME

from whether.config import TunerConfig
from whether.errors import DivergedError
from whether.finetune import processes
from whether.finetune.callbacks import EvaluationSchedule, ProgressBar, SealCheckpoint
from whether.finetune.collators import make_collator
from whether.finetune.data import Classes, TrainingRow
from whether.finetune.frozen_layers import pack_frozen_layers
from whether.finetune.fused_lora import fuse
from whether.finetune.losses import answer_counts, answer_scores, dev_metrics
from whether.finetune.micro_batches import MicroBatches, rng_snapshot
from whether.finetune.order import StepLoader, StepSampler, collate_rows
from whether.finetune.packing import Batch, Collator, computed_tokens
from whether.model.memory import peak_memory
from whether.model.metering import EnergyMeter, counted_flops


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """Trainer whose loss is the mean over the answer tokens of a step, however its rows go through the model.

    `collator` makes what the model takes, of a micro-batch at a time; `order` says which rows belong to which step.
    """

    loss_is_scaled_for_ga = True

    collator: Collator

    def __init__(
        self, *args: Any, order: StepSampler, micro_batch_size: int, dev_classes: Sequence[str] | None, **kwargs: Any
    ):
        measure = partial(dev_metrics, classes=dev_classes)
        super().__init__(*args, data_collator=collate_rows, compute_metrics=measure, **kwargs)
        self.order = order
        self.micro_batches = MicroBatches(micro_batch_size, "training")
        self.evaluation_batches = MicroBatches(2 * micro_batch_size, "evaluation")
        # So that Trainer counts the answer tokens of the whole step, whatever the model.
        self.model_accepts_loss_kwargs = True
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
        assert num_items_in_batch is not None, "model_accepts_loss_kwargs makes Trainer count them"
        losses, _ = answer_scores(model, inputs)
        # The count is that of all processes, and their gradients are averaged.
        loss = losses.sum() / num_items_in_batch * processes.count()
        return (loss, None) if return_outputs else loss

    def get_train_dataloader(self) -> StepLoader:
        """Return the rows of each step: the same in every process, which takes its share in `training_step`."""
        return StepLoader(self.train_dataset, self.order)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Train on this process's share of a step's rows, a micro-batch at a time, and count what it takes."""
        if self._started is None:
            self._started = time.perf_counter()
            self._meter.start()
        rows = inputs["rows"].rows
        restore_random_numbers = rng_snapshot(self.args.device)
        computed, flops = list[int](), list[int]()

        def work(part: Sequence[TrainingRow]) -> torch.Tensor:
            batch = self.collator(part)
            computed.append(computed_tokens(batch))
            with self.accelerator.no_sync(model), ExitStack() as stack:
                counter = stack.enter_context(counted_flops()) if self.state.global_step == 0 else None
                loss: torch.Tensor = super(AnswerTrainer, self).training_step(model, batch, num_items_in_batch)
            if counter is not None:
                flops.append(counter.get_total_flops())
            return loss

        def undo() -> None:
            model.zero_grad()
            restore_random_numbers()
            computed.clear()
            flops.clear()

        share = rows[processes.index() :: processes.count()]
        losses = self.micro_batches.run(share, work, undo)
        if processes.count() > 1:
            processes.average_gradients(model.parameters())
        self._tokens += sum(len(row.prompt) + len(row.answer) for row in rows)
        self._flops += processes.total(sum(flops), self.args.device)
        self._computed += processes.total(sum(computed), self.args.device)
        return sum(losses, torch.zeros((), device=self.args.device))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate, and measure what it takes."""
        self._meter.start()
        return super().evaluate(*args, **kwargs)  # type: ignore[no-any-return]

    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,  # noqa: ARG002 - Trainer's signature
        ignore_keys: list[str] | None = None,  # noqa: ARG002
    ) -> tuple[None, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return for each example the summed loss, the answer tokens predicted right, and their number."""

        def work(part: Sequence[TrainingRow]) -> tuple[torch.Tensor, torch.Tensor]:
            with torch.no_grad():
                return answer_scores(model, self._prepare_inputs(self.collator(part)))

        scores = self.evaluation_batches.run(inputs["rows"].rows, work, undo=lambda: None)
        losses, right = (torch.cat(column) for column in zip(*scores, strict=True))
        return None, (losses, right), answer_counts(inputs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save what is trained: peft's adapter, or the weights that have gradients, by name."""
        if isinstance(self.model, PeftModel):
            super()._save(output_dir, state_dict)
        elif self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            trained = {name: weight.data for name, weight in self.model.named_parameters() if weight.requires_grad}
            save_file(trained, folder / SAFE_WEIGHTS_NAME)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Say nothing: weights that are not in a checkpoint are those that are not trained."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log a step or an evaluation with what it took; a loss that is not a number ends training."""
        for key in ("loss", "grad_norm", "eval_loss"):
            if not math.isfinite(logs.get(key, 0.0)):
                raise DivergedError(
                    f"training diverged: {key} is {logs[key]} at step {self.state.global_step} of"
                    f" {self.state.max_steps}; lower tuner.learning_rate (it is {self.args.learning_rate:g}),"
                    " for example to a third"
                )
        if "loss" in logs and self._started is not None:
            seconds = time.perf_counter() - self._started
            logs |= {"tokens": self._tokens, "computed_tokens": self._computed, "seconds": seconds}
            # The smallest of all processes' sizes.
            logs["micro_batch_size"] = -processes.largest(-self.micro_batches.size, self.args.device)
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


def make_trainer(
    model: Any, tuner: TunerConfig, train: Sequence[TrainingRow], dev: Sequence[TrainingRow], *, seed: int, cpu: bool,
    output_dir: Path, classes: Classes | None = None,
) -> AnswerTrainer:  # fmt: skip
    """Return a trainer with its schedule, early stopping and packing set up; checkpoints go to `output_dir`.

    With `classes`, every class is drawn equally often, and counts equally on dev.
    """
    share = math.ceil(tuner.batch_size / processes.count())
    arguments = make_arguments(tuner, len(train), seed=seed, cpu=cpu, output_dir=output_dir)
    schedule = EvaluationSchedule(tuner.epochs * tuner.evaluations_per_epoch)
    trainer = AnswerTrainer(
        model, arguments, train_dataset=train, eval_dataset=dev,
        callbacks=[schedule, EarlyStoppingCallback(tuner.patience), SealCheckpoint(), ProgressBar()],
        order=StepSampler(len(train), tuner.batch_size, seed, classes.train if classes else None),
        dev_classes=classes.dev if classes else None,
        micro_batch_size=min(share, tuner.micro_batch_size or share),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    pack_frozen_layers(model)
    fuse(model)
    trainer.collator = make_collator(model, [*train, *dev])
    return trainer


def peak_device_memory() -> int | None:
    """Return the most memory that tensors have had on the accelerator, in bytes; None on CPU."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def make_arguments(tuner: TunerConfig, examples: int, *, seed: int, cpu: bool, output_dir: Path) -> TrainingArguments:
    """Return Trainer's settings for training on so many examples."""
    steps = math.ceil(examples / tuner.batch_size) * tuner.epochs
    share = math.ceil(tuner.batch_size / processes.count())
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=tuner.epochs,
        # Of training steps it counts only for Trainer's own log: `Steps` hands each process all rows of a step.
        per_device_train_batch_size=share,
        per_device_eval_batch_size=2 * share,
        average_tokens_across_devices=False,
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
        log_level_replica="error",
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
    )
    # Otherwise Trainer would spread each batch over all GPUs of the machine.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
