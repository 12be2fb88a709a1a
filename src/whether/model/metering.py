"""What training takes in addition to time: floating-point operations, and energy where the machine reports it.

Operations are counted by torch's FlopCounterMode while a step runs, forwards and backwards: two for each multiplication
with its addition in matrix products and attention; the rest, under a few percent, is left out. So the count is right
for every tuner: frozen weights have no gradient of their own, a head on a frozen model no backward pass below it. (For
a frozen model with small adapters it comes near 4 for each parameter and token, for full training near 6: Kaplan et al.
2020, https://arxiv.org/abs/2001.08361, 2 forwards and 2 each for the gradients of activations and of weights.)

Energy is what counters of the hardware say, of the processor's packages and their memory (Linux RAPL) or of the GPU
(NVML). It is that of the device, other processes' work included, and None where there is no counter or no right to
read it. Imports torch: import it where it is used.
"""

import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

POWERCAP = Path("/sys/class/powercap")


def _cpu_attention(query: Any, key: Any, value: Any, *args: Any, **options: Any) -> int:  # noqa: ARG001
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _cpu_attention_backward(gradient: Any, query: Any, key: Any, value: Any, *args: Any, **options: Any) -> int:  # noqa: ARG001
    return int(sdpa_backward_flop_count(gradient, query, key, value))  # type: ignore[no-untyped-call]


def _added_product(added: Any, left: Any, right: Any, *args: Any, **options: Any) -> int:  # noqa: ARG001
    return int(2 * left[0] * left[1] * right[1])


def _packed_product(inputs: Any, weight: Any, *args: Any, **options: Any) -> int:  # noqa: ARG001
    return int(2 * math.prod(inputs) * weight[0])


_UNKNOWN = {
    torch.ops.mkldnn._linear_pointwise: _packed_product,
    torch.ops.aten.addmm_: _added_product,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
}
"""Formulas, by shapes, that torch's counter lacks."""


@contextmanager
def counted_flops() -> Iterator[FlopCounterMode]:
    """Count the operations of what runs inside: `get_total_flops` of what it yields."""
    with FlopCounterMode(display=False, custom_mapping=_UNKNOWN) as counter:
        yield counter


class EnergyMeter:
    """Energy that a device takes between `start` and `joules`."""

    def __init__(self, device: torch.device):
        self._counters = {"cpu": rapl_counters, "cuda": _nvml_counters}.get(device.type, list)()
        self._before: list[int] | None = None

    def start(self) -> None:
        """Begin a measurement."""
        self._before = [read() for read, _, _ in self._counters]

    def joules(self) -> float | None:
        """Return what was taken since `start`; None where it cannot be measured."""
        if not self._counters or self._before is None:
            return None
        return sum(
            (read() - before) % turn * unit
            for (read, turn, unit), before in zip(self._counters, self._before, strict=True)
        )


Counter = tuple[Callable[[], int], int, float]
"""How to read a counter of energy, the number at which it begins again at 0, and its unit in joules."""


def rapl_counters(folder: Path = POWERCAP) -> list[Counter]:
    """Return the counters of the processor's packages and their memory; none if one of them must not be read."""
    counters = []
    try:
        for zone in sorted(folder.glob("intel-rapl:*")):
            name = (zone / "name").read_text().strip()
            if name.startswith("package") or name == "dram":
                _read_number(zone / "energy_uj")
                turn = _read_number(zone / "max_energy_range_uj") + 1
                counters.append((_reader(zone / "energy_uj"), turn, 1e-6))
    except OSError:
        return []
    return counters


def _reader(file: Path) -> Callable[[], int]:
    return lambda: _read_number(file)


def _read_number(file: Path) -> int:
    return int(file.read_text())


def _nvml_counters() -> list[Counter]:
    """Return the counter of the current GPU; none without the package nvidia-ml-py or on a GPU without a counter."""
    if importlib.util.find_spec("pynvml") is None:
        return []
    import pynvml

    try:
        pynvml.nvmlInit()
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return []
    return [(lambda: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)), 2**64, 1e-3)]
