"""The precision that `model.dtype: auto` stands for: bfloat16 where the hardware multiplies it, float32 elsewhere."""

from dataclasses import replace
from pathlib import Path

from whether.config import ModelConfig
from whether.model.loading import select_device
from whether.records import Dtype

NATIVE_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "sve_bf16", "svebf16"})
"""Features of a processor that multiply bfloat16: AVX-512 and AMX of x86, NEON and SVE of ARM, as torch and Linux name
them."""
_CPUINFO = Path("/proc/cpuinfo")


def with_native_precision(config: ModelConfig) -> ModelConfig:
    """Return the settings with `precision_of` them in place of `auto`.

    Whatever loads weights or trains begins with this, so nothing after it meets `auto`. Raises EngineError for a device
    that is not there.
    """
    return replace(config, dtype=precision_of(config))


def precision_of(config: ModelConfig) -> Dtype:
    """Return the precision that is set or, for `auto`, that of this machine's device. Raises EngineError likewise."""
    return native_dtype(select_device(config.device)) if config.dtype == "auto" else config.dtype


def native_dtype(device: str) -> Dtype:
    """Return bfloat16 where `device` (cuda, mps or cpu) multiplies it natively, else float32.

    CUDA: from compute capability 8.0 on. MPS: from macOS 14 on, before which torch has no bfloat16 there. A processor
    without such instructions converts every number, which is slower than float32.
    """
    import torch

    if device == "cuda":
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "mps":
        is_native = torch.backends.mps.is_macos_or_newer(14, 0)
    else:
        is_native = not NATIVE_FLAGS.isdisjoint(cpu_features())
    return "bfloat16" if is_native else "float32"


def cpu_features() -> set[str]:
    """Return the names of the processor's features; empty where neither torch nor the system says."""
    import torch

    if hasattr(torch.cpu, "get_capabilities"):  # not in the older ones of the versions of torch that are allowed
        return {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.exists() else []
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()}
