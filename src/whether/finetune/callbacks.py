"""What happens between the steps of training: when dev is measured and a checkpoint counts, and the progress bar.

Imports transformers: import it where it is used.
"""

from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerCallback

from whether.finetune import checkpoints, processes


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
        """Seal what every process has just written; before the first evaluation there is no best one."""
        processes.wait_for_all()
        if not processes.is_main():
            return
        folder = Path(args.output_dir)
        checkpoint = folder / f"checkpoint-{state.global_step}"
        checkpoints.seal(checkpoint)
        best = {Path(state.best_model_checkpoint)} if state.best_model_checkpoint else set()
        checkpoints.keep_only(folder, {checkpoint} | best)


class Bar(ProgressCallback):  # type: ignore[misc]
    """Trainer's progress bar on standard error, with the losses beside it, not a line a step on standard output."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Show the latest losses."""
        if self.training_bar is not None:
            shown = {"loss": "loss", "eval_loss": "dev_loss", "eval_exact": "dev_exact"}
            latest = {shown[key]: entry[key] for entry in state.log_history for key in shown.keys() & entry.keys()}
            self.training_bar.set_postfix({key: f"{value:.3g}" for key, value in latest.items()}, refresh=False)

    def close(self) -> None:
        """End the line of a bar that is still shown, so that what is said next begins a new one."""
        for bar in (self.prediction_bar, self.training_bar):
            if bar is not None:
                bar.close()
