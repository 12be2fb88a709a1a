"""In which precision a model's weights ran: precision.json in artifacts/generate/<arm>/, artifacts/robustness/<arm>/
and artifacts/curve/generate/<labels>-<seed>/; absent where nothing was asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from whether.records.files import read_json, write_json

Dtype = Literal["float32", "bfloat16"]
"""Precision of weights."""


@dataclass(frozen=True)
class Precision:
    """precision.json."""

    dtype: Dtype | None
    """None: a served model, whose precision is not known."""


def write_precision(folder: Path, dtype: Dtype | None) -> None:
    """Write precision.json into a folder. Raises RecordError where that fails."""
    write_json(folder / "precision.json", Precision(dtype))


def read_precision(folder: Path) -> Dtype | None:
    """Return the precision that a folder records; None where it records none. Raises RecordError for a broken file."""
    file = folder / "precision.json"
    return read_json(file, Precision).dtype if file.exists() else None
