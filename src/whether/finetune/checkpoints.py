"""Which saved states of a training run are whole, so that a run killed at any moment goes on from one that is.

Trainer writes a checkpoint file by file. A checkpoint counts only once it is sealed: after its last file is on disk a
small file is put beside them. One that is to be deleted loses that seal first.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

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


def last(folder: Path) -> Path | None:
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


def clear(folder: Path) -> None:
    """Delete a training run's state. No checkpoint counts any more before the first is touched: each names the best."""
    for mark in folder.glob(f"checkpoint-*/{_SEAL}"):
        mark.unlink()
    shutil.rmtree(folder)


def state(checkpoint: Path) -> dict[str, Any]:
    """Return what Trainer knew at a checkpoint."""
    values: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return values


def stopped(values: dict[str, Any]) -> bool:
    """Return whether training was over at a checkpoint: all steps done, or stopped early."""
    control = values["stateful_callbacks"]["TrainerControl"]["args"]
    return bool(control["should_training_stop"]) or values["global_step"] >= values["max_steps"]
