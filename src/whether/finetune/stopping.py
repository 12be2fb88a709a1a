"""SIGTERM and SIGINT (Ctrl-C) in training: the step is finished, a checkpoint saved, and only then the signal acts.

Imports transformers: import it where it is used.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from whether.finetune import processes

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop(TrainerCallback):  # type: ignore[misc]
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
            logger.info("stopped at step %d of %d: run again to go on from there", state.global_step, state.max_steps)
            self._act(number)
