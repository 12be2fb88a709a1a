"""Several processes that train one checkpoint together, as `accelerate launch` and torchrun start them.

The launcher tells each process its place by environment variables, before anything is imported. The main process
decides, saves and writes; the others only compute. Without a launcher there is one process, and it is the main one.
"""

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from whether.errors import EngineError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BUCKET = 2**24
"""Numbers that are sent together at most: few messages, and not a second copy of all gradients."""


def count() -> int:
    """Return how many processes train together."""
    return _place("WORLD_SIZE", 1)


def index() -> int:
    """Return which of them this is, from 0."""
    return _place("RANK", 0)


def on_this_machine() -> int:
    """Return how many of them share this machine's cores."""
    return _place("LOCAL_WORLD_SIZE", 1)


def is_main() -> bool:
    """Return whether this process writes results."""
    return index() == 0


def begin() -> None:
    """Leave all but warnings to the main process to say; warn of a launcher that started fewer than asked for."""
    if not is_main():
        logging.getLogger("whether").setLevel(logging.WARNING)
    # `accelerate launch --cpu` names a port for the processes to meet, and starts one.
    if (
        os.environ.get("ACCELERATE_USE_CPU") == "True"
        and "MASTER_PORT" in os.environ
        and "LOCAL_RANK" not in os.environ
    ):
        logger.warning(
            "`accelerate launch --cpu` starts one process, whatever --num_processes says: training continues with one;"
            " on CPUs use `torchrun --nproc_per_node N -m pipelines.finetune ...`"
        )


def _place(variable: str, alone: int) -> int:
    """Read a launcher's variable. Clusters set some of them for jobs of one process too, but never LOCAL_RANK."""
    return int(os.environ.get(variable, alone)) if "LOCAL_RANK" in os.environ else alone


def only_main(context: AbstractContextManager[T]) -> AbstractContextManager[T | None]:
    """Return a context that the main process enters; the others get None."""
    return context if is_main() else nullcontext()


def from_main(value: Callable[[], T]) -> T:
    """Return in every process what the main one gets from `value`; none continues before."""
    if count() == 1:
        return value()
    from accelerate.utils import broadcast_object_list

    values = broadcast_object_list([value() if is_main() else None])
    return values[0]  # type: ignore[no-any-return]


def wait_for_all() -> None:
    """Return once every process has come here."""
    from_main(lambda: None)


def largest(number: int, device: "torch.device") -> int:
    """Return the largest of all processes' numbers."""
    import torch

    return int(_summed(torch.tensor([number], device=device), "MAX").item()) if count() > 1 else number


def total(number: int, device: "torch.device") -> int:
    """Return the sum of all processes' numbers."""
    import torch

    return int(_summed(torch.tensor([number], device=device)).item()) if count() > 1 else number


def average_gradients(parameters: "Iterable[torch.nn.Parameter]") -> None:
    """Give every process the mean of all processes' gradients; one that had no rows to compute counts as zeros.

    This is done once a step, after its last micro-batch, and not by torch's DistributedDataParallel during the backward
    pass: a process that runs out of memory can begin its rows again while the others wait.
    """
    import torch

    bucket: list[torch.nn.Parameter] = []
    trained = [weight for weight in parameters if weight.requires_grad]
    for weight in trained:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    for position, weight in enumerate(trained):
        bucket.append(weight)
        following = trained[position + 1] if position + 1 < len(trained) else None
        if (
            following is None
            or following.dtype != weight.dtype
            or sum(item.numel() for item in bucket) + following.numel() > _BUCKET
        ):
            _average(bucket)
            bucket = []


def _average(weights: "list[torch.nn.Parameter]") -> None:
    import torch

    gradients = [weight.grad for weight in weights if weight.grad is not None]
    mean = _summed(torch.cat([gradient.flatten() for gradient in gradients])) / count()
    start = 0
    for gradient in gradients:
        gradient.copy_(mean[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def _summed(tensor: "torch.Tensor", operation: str = "SUM") -> "torch.Tensor":
    import torch.distributed

    try:
        torch.distributed.all_reduce(tensor, op=getattr(torch.distributed.ReduceOp, operation))
    except RuntimeError as error:
        raise EngineError(f"another of the {count()} processes ended: its message says why") from error
    return tensor
