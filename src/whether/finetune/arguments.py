"""The tuner's settings as Trainer's.

Imports transformers: import it where it is used.
"""

import math
from pathlib import Path

from transformers import TrainingArguments

from whether.config import TunerConfig
from whether.finetune import processes


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
