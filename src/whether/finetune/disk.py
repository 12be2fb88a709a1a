"""A disk that is full when a checkpoint or a result is written: one error that says where, how much and what to do."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whether.errors import RecordError

_REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than the system allows (see `ulimit -f`)",
}
_SILENT = ("PytorchStreamWriter failed", "iostream error", "inline_container")
"""What torch.save says, which does not tell the system's reason."""


@contextmanager
def room(folder: Path, needed: int) -> Iterator[None]:
    """Turn the system's refusal of space for files in `folder`, about `needed` bytes, into one RecordError."""
    try:
        yield
    except Exception as error:
        reason = refusal(error, folder, needed)
        if reason is None:
            raise
        raise RecordError(
            f"{folder} cannot be written: {reason}; about {in_units(needed)} are needed and {in_units(free(folder))}"
            " are left. Nothing stays half-written: make room and run again, which goes on from the last checkpoint"
        ) from error


def refusal(error: BaseException, folder: Path, needed: int) -> str | None:
    """Return why the system refused space, in words; None if the error is about something else.

    Libraries report it as errors of their own, so the whole chain of causes is looked at.
    """
    chain: BaseException | None = error
    while chain is not None:
        for number, reason in _REFUSALS.items():
            if getattr(chain, "errno", None) == number or f"(os error {number})" in str(chain):
                return reason
        if any(sign in str(chain) for sign in _SILENT):
            return _REFUSALS.get(probe(folder, needed))
        chain = chain.__cause__ or chain.__context__
    return None


def probe(folder: Path, size: int) -> int:
    """Write `size` bytes into a folder and take them away again; return the number of the system's error, or 0."""
    block = bytes(2**20)
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            for start in range(0, size, len(block)):
                stream.write(block[: size - start])
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return error.errno or 0
    return 0


def free(folder: Path) -> int:
    """Return the bytes that are free where a folder is, or would be."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def in_units(size: int) -> str:
    """Return a number of bytes as a person reads it, such as 12.3 MB."""
    for unit, bytes_of in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_of:
            return f"{size / bytes_of:.3g} {unit}"
    return f"{size} bytes"
