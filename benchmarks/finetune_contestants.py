"""One side of benchmarks/finetune.py, in a process of its own: trains a step when it is told to, and reports it.

Reads commands, a line each, from standard input ("step", "stop") and answers each with a line of JSON. So sides can
take turns step by step, and the peak of a process's resident memory is that of one side.
"""

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from whether import entry
from whether.config import TunerConfig, build
from whether.finetune.data import TrainingRow, encode_rows
from whether.finetune.finetune import read_data, set_threads
from whether.model.loading import load_base
from whether.model.memory import peak_memory

ARTIFACTS = Path("artifacts")
BATCH_SIZE = 16
STEPS = 20
"""Optimizer steps that the schedule is made for; a side may stop before."""
MAX_LENGTH = 1024
TUNER = TunerConfig(
    adapter={"_target_": "whether.finetune.adapters.lora", "r": 16, "alpha": 32},
    learning_rate=2e-3,
    epochs=1,
    batch_size=BATCH_SIZE,
    warmup_ratio=0.1,
    weight_decay=0.0,
    max_grad_norm=1.0,
    evaluations_per_epoch=1,
    patience=1,
    max_length=MAX_LENGTH,
)
"""The shipped settings of conf/tuner, written out so that the benchmark stays the same when they change."""
TRL: dict[str, dict[str, Any]] = {
    "padded": {"max_length": MAX_LENGTH},
    "padded, checkpointing": {"max_length": MAX_LENGTH, "gradient_checkpointing": True},
    "padding-free": {"max_length": None, "padding_free": True},
    "packed": {"max_length": 384, "packing": True, "per_device_train_batch_size": 4},
}
"""Ways in which SFTTrainer lays out batches; `packed` rows hold four examples each, so four of them about a batch."""


class Prepared(NamedTuple):
    """What every side starts from."""

    model: Any
    """With its adapter."""
    tokenizer: Any
    train: list[TrainingRow]
    dev: list[TrainingRow]
    folder: Path
    """For what a trainer writes."""


class Side(NamedTuple):
    """A trainer, and what it is given for a step."""

    trainer: Any
    collator: str
    """The trainer's attribute that makes a batch of rows."""
    given: Callable[[Any], list[tuple[list[int], int]]]
    """From the collator's argument: each example's token ids, and how many of the last ones are labels."""


def main() -> None:
    """Prepare the side that the arguments name, and do what is asked."""
    name, dtype = sys.argv[1:]
    kind, _, variant = name.partition(":")
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    entry.prepare_process()
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import set_seed

    set_threads(None)
    model, tokenizer = load_base(ARTIFACTS / "model", getattr(torch, dtype))
    data = read_data(ARTIFACTS / "training_set" / "lora")
    train, dev = (
        encode_rows(tokenizer, examples, MAX_LENGTH, split)
        for split, examples in (("train", data.train[: STEPS * BATCH_SIZE]), ("dev", data.dev))
    )
    set_seed(0)
    adapted = build(TUNER.adapter, model, data.task, where="tuner.adapter")
    with tempfile.TemporaryDirectory() as folder:
        prepared = Prepared(adapted, tokenizer, train, dev, Path(folder))
        side = {"whether": ours, "trl": trl}[kind](prepared, variant)
        _say(answers, {"adapter": _digest(_weights(adapted)), "threads": torch.get_num_threads()})
        _obey(side, answers)


def ours(prepared: Prepared, variant: str) -> Side:
    """Return the trainer of the finetune stage; `variant` is packed, as it chooses itself, or padded."""
    from whether.finetune.packing import Collator
    from whether.finetune.trainer import make_trainer

    model, _, train, dev, folder = prepared
    trainer = make_trainer(model, TUNER, train, dev, seed=0, cpu=True, output_dir=folder)
    if variant == "padded":
        trainer.collator = Collator(packed=False, mask_dtype=model.dtype)
    return Side(trainer, "collator", lambda rows: [([*row.prompt, *row.answer], len(row.answer)) for row in rows])


def trl(prepared: Prepared, variant: str) -> Side:
    """Return SFTTrainer with the arguments of our trainer and one of its ways to lay out batches."""
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import SFTConfig, SFTTrainer

    from whether.finetune.order import StepSampler
    from whether.finetune.trainer import make_arguments

    arguments = make_arguments(TUNER, len(prepared.train), seed=0, cpu=True, output_dir=prepared.folder)
    same = (
        "output_dir", "num_train_epochs", "per_device_train_batch_size", "learning_rate", "lr_scheduler_type", "seed",
        "data_seed", "warmup_steps", "optim", "weight_decay", "max_grad_norm", "use_cpu", "dataloader_pin_memory",
        "report_to", "disable_tqdm", "logging_steps",
    )  # fmt: skip
    settings: dict[str, Any] = {key: getattr(arguments, key) for key in same}
    # Autocast off: the weights have the precision already. No checkpoints of activations: that takes a third longer.
    settings |= {"bf16": False, "gradient_checkpointing": False, "completion_only_loss": True, "save_strategy": "no"}
    order = StepSampler(len(prepared.train), BATCH_SIZE, seed=0)
    rows = [
        {"input_ids": [*row.prompt, *row.answer], "completion_mask": [0] * len(row.prompt) + [1] * len(row.answer)}
        for row in map(prepared.train.__getitem__, chain.from_iterable(order))
    ]
    trainer = SFTTrainer(
        prepared.model,
        SFTConfig(**settings | TRL[variant]),
        train_dataset=Dataset.from_list(rows),
        processing_class=prepared.tokenizer,
    )
    # Rows are in our trainer's order already.
    trainer._get_train_sampler = SequentialSampler
    return Side(trainer, "data_collator", _given_to_trl)


def _given_to_trl(rows: Sequence[dict[str, Any]]) -> list[tuple[list[int], int]]:
    """Return the examples in dataset rows, of which packed ones hold several."""
    examples = []
    for row in rows:
        start = 0
        for length in row.get("seq_lengths", [len(row["input_ids"])]):
            labels = row["labels"][start : start + length]
            examples.append((row["input_ids"][start : start + length], sum(label != -100 for label in labels)))
            start += length
    return examples


def _obey(side: Side, answers: TextIO) -> None:
    """Train step by step as told. A step's time is that of the whole loop: batch, forward, backward, update, log."""
    from transformers import TrainerCallback

    trainer, batches = side.trainer, list[list[tuple[list[int], int]]]()
    collate = getattr(trainer, side.collator)

    def watched(rows: Any) -> Any:
        batches.append(side.given(rows))
        return collate(rows)

    class Turns(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
            self.wait()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:  # noqa: ARG002
            if "loss" in logs:
                seconds = time.perf_counter() - self.started
                examples = batches[state.global_step - 1]
                report = {"seconds": seconds, "loss": logs["loss"], "examples": len(examples)}
                _say(answers, report | {"data": _digest(json.dumps(sorted(examples)).encode())})
                self.wait()

        def wait(self) -> None:
            if sys.stdin.readline().strip() != "step":
                _say(answers, {"peak": peak_memory()})
                raise SystemExit(0)
            self.started = time.perf_counter()

    setattr(trainer, side.collator, watched)
    trainer.add_callback(Turns())
    trainer.train()


def _weights(model: Any) -> bytes:
    """Return the bytes of what is trained."""
    import numpy as np

    trained = [weight.detach().float().numpy().ravel() for weight in model.parameters() if weight.requires_grad]
    return np.concatenate(trained).tobytes()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _say(stream: TextIO, answer: dict[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
