"""Weights as safetensors files hold them: their headers, and whether all numbers are finite.

Read in pieces, so that a model of any size takes little memory, and without torch.
"""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from whether.errors import SourceError

logger = logging.getLogger(__name__)

_PIECE = 2**24
"""Bytes that are looked at together."""
_NOT_FINITE = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "C64": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
}
"""Kind of number → how its bytes are read, and the bits that only what is infinite or NaN has all set."""


class Tensor(NamedTuple):
    """A tensor of a file."""

    file: Path
    name: str
    dtype: str
    """As safetensors names it: F32, BF16, …"""
    shape: tuple[int, ...]
    start: int
    """Where its bytes begin in the file."""
    end: int

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


def read_header(file: Path, what: str) -> list[Tensor]:
    """Return the tensors of a file. Raises SourceError for a file that is cut off or is not a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):  # compares the header with the length of the file
            pass
    except SafetensorError as error:
        raise SourceError(f"model {what}: {file.name} {_damage(file, error)}") from None
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    begin = 8 + length
    return [
        Tensor(file, name, held["dtype"], tuple(held["shape"]), *(begin + offset for offset in held["data_offsets"]))
        for name, held in header.items()
    ]


def _damage(file: Path, error: Exception) -> str:
    with file.open("rb") as stream:
        start = stream.read(8)
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return "is a pickle by its content, whatever its name: pickled weights are never loaded"
    return (
        f"cannot be read as safetensors ({error}): it is cut off or damaged, at {file.stat().st_size:,} bytes; copy or"
        " download it again"
    )


def require_finite(tensors: Sequence[Tensor], what: str) -> None:
    """Raise SourceError that names the first tensor with a number that is infinite or NaN.

    Matrices of nothing but zeros, as a copy with holes leaves them, are a warning.
    """
    empty = []
    for tensor in tensors:
        bad, is_zero = _examined(tensor)
        if bad:
            raise SourceError(
                f"model {what}: {tensor.file.name}: {bad:,} of {tensor.size:,} numbers of {tensor.name} are infinite or"
                " NaN, so the model can answer nothing: take other weights, or convert them again in a precision that"
                " holds their range, such as bfloat16"
            )
        empty += [tensor.name] if is_zero and len(tensor.shape) > 1 else []
    if empty:
        logger.warning(
            "model %s: %d weight matrices hold nothing but zeros, such as %s: see that the download is complete",
            what, len(empty), empty[0],
        )  # fmt: skip


def _examined(tensor: Tensor) -> tuple[int, bool]:
    """Return how many numbers are not finite, and whether all bytes are zero."""
    import numpy as np

    kind, bits = _NOT_FINITE.get(tensor.dtype, ("u1", None))
    bad, is_zero = 0, tensor.size > 0
    for piece in _pieces(tensor):
        numbers = np.frombuffer(piece, dtype=kind)
        is_zero = is_zero and not numbers.any()
        if bits is not None:
            bad += int(np.count_nonzero((numbers & bits) == bits))
    return bad, is_zero


def _pieces(tensor: Tensor) -> Iterator[bytes]:
    with tensor.file.open("rb") as stream:
        stream.seek(tensor.start)
        left = tensor.end - tensor.start
        while left > 0:
            piece = stream.read(min(left, _PIECE))
            if not piece:
                return
            left -= len(piece)
            yield piece
