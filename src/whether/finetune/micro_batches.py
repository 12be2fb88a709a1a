"""How many rows go through the model at once: as many as asked for, or as the memory turned out to hold."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from whether.errors import EngineError
from whether.finetune.data import TrainingRow
from whether.model.memory import is_out_of_memory, release

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

T = TypeVar("T")

ADVICE = "shorten the examples or lower tuner.max_length, set model.dtype=bfloat16, or take a smaller model"
"""What to do where one example is too much."""


class MicroBatches:
    """Runs work on rows, at most `size` of them at once. `size` is halved whenever memory runs out."""

    def __init__(self, size: int, doing: str):
        """`doing` says in messages what the rows are for, such as "training"."""
        self.size = size
        self.doing = doing

    def run(
        self, rows: Sequence[TrainingRow], work: Callable[[Sequence[TrainingRow]], T], undo: Callable[[], None]
    ) -> list[T]:
        """Return what `work` gives for each micro-batch of `rows`, in order.

        Out of memory, `undo` takes back what was done for these rows, and they are begun again with half the size.
        Raises EngineError where one row is too much.
        """
        while True:
            try:
                return [work(part) for part in chunks(rows, self.size)]
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Out of the handler, so that nothing holds the tensors of what failed.
            undo()
            self._halve(len(rows))
            release()

    def _halve(self, rows: int) -> None:
        """Halve what was tried: of fewer rows than `size`, all of them."""
        tried = min(self.size, rows)
        if tried == 1:
            raise EngineError(f"out of memory: {self.doing} on a single example takes more than there is; {ADVICE}")
        self.size = tried // 2
        logger.warning(
            "out of memory: %s continues in micro-batches of %d; a step has as many examples as before",
            self.doing,
            self.size,
        )


def chunks(rows: Sequence[TrainingRow], size: int) -> Iterator[Sequence[TrainingRow]]:
    """Yield the rows in order, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def rng_snapshot(device: "torch.device") -> Callable[[], None]:
    """Return what brings the random numbers, which dropout takes, back to where they are now."""
    import torch

    on_cpu = torch.get_rng_state()
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore() -> None:
        torch.set_rng_state(on_cpu)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)

    return restore
