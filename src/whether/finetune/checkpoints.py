"""Which saved states of a training run are whole, so that a run killed at any moment resumes from one that is.

Trainer writes a checkpoint file by file. A checkpoint counts only once it is sealed: after its last file is on disk a
small file is put next to them. One that is to be deleted loses that seal first.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from whether.errors import RecordError
from whether.records import write_text

_SEAL = "sealed"


def seal(checkpoint: Path) -> None:
    """Declare a checkpoint whole, after its files have reached the disk."""
    for file in checkpoint.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    write_text(checkpoint / _SEAL, "")


def discard(checkpoint: Path) -> None:
    """Delete a checkpoint; killed half-way, what is left does not count."""
    (checkpoint / _SEAL).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def last_sealed(folder: Path) -> Path | None:
    """Return the latest whole checkpoint in a folder, or None; those that are not whole are deleted."""
    sealed = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / _SEAL).exists():
            sealed.append(checkpoint)
        else:
            discard(checkpoint)
    return max(sealed, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]), default=None)


def keep_only(folder: Path, kept: set[Path]) -> None:
    """Delete the checkpoints in a folder that are not in `kept`."""
    for checkpoint in folder.glob("checkpoint-*"):
        if checkpoint not in kept:
            discard(checkpoint)


def delete_state(folder: Path) -> None:
    """Delete a training run's state. No checkpoint counts any more before the first is touched: each names the best."""
    for mark in folder.glob(f"checkpoint-*/{_SEAL}"):
        mark.unlink()
    shutil.rmtree(folder)


def state(checkpoint: Path) -> dict[str, Any]:
    """Return what Trainer knew at a checkpoint."""
    values: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return values


def is_finished(values: dict[str, Any]) -> bool:
    """Return whether training was over at a checkpoint: all steps done, or stopped early."""
    control = values["stateful_callbacks"]["TrainerControl"]["args"]
    return bool(control["should_training_stop"]) or values["global_step"] >= values["max_steps"]


_REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than the system allows (see `ulimit -f`)",
}


_SILENT = ("PytorchStreamWriter failed", "iostream error", "inline_container")
"""What torch.save says, which does not report the system's reason."""


@contextmanager
def require_disk_space(folder: Path, needed: int) -> Iterator[None]:
    """Turn the system's refusal of space for files in `folder`, about `needed` bytes, into one RecordError."""
    try:
        yield
    except Exception as error:
        reason = disk_error(error, folder, needed)
        if reason is None:
            raise
        raise RecordError(
            f"{folder} cannot be written: {reason}; about {format_bytes(needed)} are needed and"
            f" {format_bytes(free(folder))} are left. Nothing stays half-written: make room and run again,"
            " which resumes from the last checkpoint"
        ) from error


def disk_error(error: BaseException, folder: Path, needed: int) -> str | None:
    """Return why the system refused space, in words; None if the error is about something else.

    Libraries report it as errors of their own, so the whole chain of causes is looked at.
    """
    chain: BaseException | None = error
    while chain is not None:
        for number, reason in _REFUSALS.items():
            if getattr(chain, "errno", None) == number or f"(os error {number})" in str(chain):
                return reason
        if any(sign in str(chain) for sign in _SILENT):
            return _REFUSALS.get(try_write(folder, needed))
        chain = chain.__cause__ or chain.__context__
    return None


def try_write(folder: Path, size: int) -> int:
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


def format_bytes(size: int) -> str:
    """Return a number of bytes for people to read, such as 12.3 MB."""
    for unit, bytes_of in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_of:
            return f"{size / bytes_of:.3g} {unit}"
    return f"{size} bytes"
