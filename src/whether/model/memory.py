"""How much memory there is, how much goes through a model at once, and what happens when that was too much."""

import gc
import logging
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from whether.errors import EngineError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_NODES = {4: 512, 2: 1536}
"""Tokens of a pass at most, by the bytes of a number: in half precision a processor computes more tokens in the time in
which it reads the weights. Measured with SmolLM2-135M on a CPU: more gains nothing."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""glibc's numbers of these parameters (malloc.h)."""
MAX_BUDGET = 4 * 2**30
"""Bytes of the default budget at most: where this much is there, batches do not depend on the machine."""


class Limits(NamedTuple):
    """How much goes through a model at once."""

    nodes: int = 512
    """Tokens of a pass over a tree of prompts, or of a batch on the plain path."""
    rows: int = 64
    """Answers that are written together."""
    own_tokens: int = 2**31
    """Tokens of all of these rows together, those of their common prefix left out."""

    def halved(self) -> "Limits":
        """Return half of each; EngineError where there is nothing left to halve."""
        if self.nodes == self.rows == 1:
            raise EngineError("there is not enough memory for one token of one prompt: use shorter prompts")
        return Limits(*(max(1, limit // 2) for limit in self))


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    with suppress(OSError):  # Linux; getrusage there counts the process that started this one, too
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def restart_peak_memory() -> None:
    """Let `peak_memory` begin from what is resident now, where the system can (Linux)."""
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def default_budget(device: "torch.device") -> int:
    """Return half of the memory that is free on a device, in bytes, and at most `MAX_BUDGET`."""
    import psutil
    import torch

    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return min(free // 2, MAX_BUDGET)


def bytes_per_token(model: Any) -> int:
    """Return the size of one token's keys and values in all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * model.dtype.itemsize)


def limits(model: Any, budget: int) -> Limits:
    """Return what fits into a budget in bytes: half of it for a pass's activations, half for rows' keys and values.

    A node has its logits, and about eight hidden states and four intermediate ones, alive at the same time.
    """
    config = model.config.get_text_config()
    hidden = config.hidden_size
    states = 8 * hidden + 4 * (getattr(config, "intermediate_size", None) or 4 * hidden) + config.vocab_size
    node = states * model.dtype.itemsize + bytes_per_token(model)
    nodes = min(MAX_NODES[model.dtype.itemsize], budget // 2 // node)
    return Limits(nodes=max(1, nodes), own_tokens=max(1, budget // 2 // bytes_per_token(model)))


def retry_on_oom(start: Limits, attempt: Callable[[Limits], Iterator[T]]) -> Iterator[T]:
    """Yield what `attempt` yields; out of memory, begin it again with half the limits, and say so in the log.

    `attempt` continues where it stopped: what it has yielded is done. Raises EngineError where the smallest limits are
    still too much.
    """
    now = start
    while True:
        try:
            yield from attempt(now)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        # Out of the handler, so that nothing holds the tensors of what failed.
        now = now.halved()
        release()
        logger.warning("out of memory: going on with %d tokens and %d answers at once", now.nodes, now.rows)


def keep_freed_memory() -> None:
    """Let glibc keep memory that is freed for what is allocated next, where it would return it to the system.

    Each layer's activations are freed and allocated again, some megabytes at a time. From the system they come as
    pages that have to be filled with zeros first, which takes a fifth of the time of a pass. Elsewhere than in glibc
    this does nothing.
    """
    import ctypes

    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 128 * 2**20)
        library.mallopt(_M_TRIM_THRESHOLD, 512 * 2**20)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be had, on an accelerator or a CPU."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(error)
    if isinstance(error, SystemError) and "without exception set" in words:
        return True  # CPython's words where an extension had no memory to say so
    signs = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in words for sign in signs)


def release() -> None:
    """Give cached memory back to an accelerator."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)
