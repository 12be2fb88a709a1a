"""In which precision the records of a run were made: all in one, or they are not compared."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import cast

from whether.config import Config
from whether.errors import RecordError
from whether.records import CHECKPOINT, Dtype, read_json, read_precision


def common_precision(config: Config, artifacts: Path, *, arms_alone: bool = False) -> Dtype | None:
    """Return the precision that the records of `config`'s arms name; None where none does.

    With `arms_alone` what the stages after the arms wrote is left out, as in `load_results`. Raises RecordError for
    records of two precisions: with `model.dtype: auto`, those that come from another machine may be of another one.
    """
    found: dict[Dtype, list[Path]] = {}
    for record, dtype in _recorded(config, artifacts, arms_alone):
        if dtype:
            found.setdefault(dtype, []).append(record)
    if len(found) > 1:
        (most, _), (least, odd) = sorted(found.items(), key=lambda item: -len(item[1]))
        further = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise RecordError(
            f"{', '.join(map(str, odd[:3]))}{further}: made in {least}, and the other records of this run in {most};"
            " what differs between arms of two precisions may be rounding. Name one precision, so that all are made in"
            f" it: `whether run model.dtype={most}`"
        )
    return next(iter(found), None)


def _recorded(config: Config, artifacts: Path, arms_alone: bool) -> Iterator[tuple[Path, Dtype | None]]:
    """Yield what names a precision, and the precision. Training counts too: its weights fit the rounded base."""
    curve = artifacts / "curve"
    points = [f"{labels}-{seed}" for labels, seed in product(config.curve.labels, config.curve.seeds)]
    files = [artifacts / "finetune" / name / CHECKPOINT / "checkpoint.json" for name in config.checkpoints]
    files += [artifacts / "score" / arm / "metrics.json" for arm in config.arm_names]
    folders = []
    if not arms_alone:
        files += [artifacts / "benchmark" / name / "metrics.json" for name in config.checkpoints]
        files += [curve / "checkpoint" / point / CHECKPOINT / "checkpoint.json" for point in points]
        folders += [artifacts / "robustness" / arm for arm in config.arm_names]
        folders += [curve / "generate" / point for point in points]
    yield from ((file, cast("Dtype | None", read_json(file).get("dtype"))) for file in files if file.exists())
    yield from ((folder, read_precision(folder)) for folder in folders)
