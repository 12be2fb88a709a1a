"""What happens between the steps of training: when dev is measured and a checkpoint counts, and the progress bar.

Imports transformers: import it where it is used.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerCallback

from whether.finetune import checkpoints, processes


class EvaluationSchedule(TrainerCallback):  # type: ignore[misc]
    """Evaluates and saves `count` times, evenly spread, and always after the last step."""

    def __init__(self, count: int):
        self.count = count

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Ask for evaluation and checkpoint where one of `count` equal parts of training ends."""
        done, before = (step * self.count // state.max_steps for step in (state.global_step, state.global_step - 1))
        control.should_evaluate = control.should_save = done > before


class SealCheckpoint(TrainerCallback):  # type: ignore[misc]
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


class ProgressBar(ProgressCallback):  # type: ignore[misc]
    """Trainer's progress bar on standard error, with the losses next to it, not a line a step on standard output."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Show the latest losses."""
        if self.training_bar is not None:
            shown = {"loss": "loss", "eval_loss": "dev_loss", "eval_exact": "dev_exact"}
            latest = {shown[key]: entry[key] for entry in state.log_history for key in shown.keys() & entry.keys()}
            self.training_bar.set_postfix({key: f"{value:.3g}" for key, value in latest.items()}, refresh=False)

    def close(self) -> None:
        """End the line of a bar that is still shown, so that the next message begins a new one."""
        for bar in (self.prediction_bar, self.training_bar):
            if bar is not None:
                bar.close()


logger = logging.getLogger(__name__)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class GracefulStop(TrainerCallback):  # type: ignore[misc]
    """Remembers a signal until the end of the step, asks for a checkpoint, and then lets the signal do its work.

    To be the last of the callbacks: the checkpoint is whole when its turn comes.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hold back the signals in a block; not those that are ignored, as under nohup. Only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._receive) for number in heard}
        try:
            yield
        finally:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: Any) -> None:  # noqa: ARG002 - Python's signature
        """Remember the first signal; a second one acts at once, unless a launcher sends it on a second time."""
        if self.received and processes.count() == 1:
            self._act(number)
        self.received = self.received or number

    def _act(self, number: int) -> None:
        """Do what the signal would have done without us."""
        self._restore()
        signal.raise_signal(number)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Ask for a checkpoint if any process has received a signal."""
        number = processes.largest(self.received, args.device)
        if number:
            first = "measuring dev, then saving" if control.should_evaluate else "saving"
            logger.info("%s: %s what step %d has reached", signal.Signals(number).name, first, state.global_step)
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Stop: the checkpoint has just been sealed."""
        number = processes.largest(self.received, args.device)
        if number:
            message = "stopped at step %d of %d: run again to continue from there"
            logger.info(message, state.global_step, state.max_steps)
            self._act(number)
