"""What baselines are fitted on, artifacts/baseline/data/, and what one is, artifacts/baseline/fitted/<name>/."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whether.records.files import read_json


@dataclass(frozen=True)
class BaselineTask:
    """task.json: what of a task a baseline needs to know."""

    name: str
    output: str
    """Its kind of output by name."""
    balanced: bool
    """Whether every label counts equally in fitting, however often it comes: where labels are imbalanced."""


@dataclass(frozen=True)
class BaselineRow:
    """A line of train.jsonl, dev.jsonl or test.jsonl."""

    id: str
    """`Example.id`."""
    text: str
    """The input as it reads in a prompt."""
    target: str
    """The right answer."""


@dataclass(frozen=True)
class BaselineRecord:
    """baseline.json: a small model that answers without a language model, as it was fitted."""

    name: str
    model: dict[str, Any]
    """`_target_` and settings."""
    fitted: bool
    """False where it cannot answer the task: there are then no other files, and it is not an arm."""
    reason: str | None = None
    """Why it was not fitted."""
    parameters: int = 0
    """Numbers that were fitted."""
    disk: int = 0
    """Bytes of checkpoint/, which is all that it answers with."""


def fitted_baselines(names: Iterable[str], artifacts: Path) -> list[str]:
    """Return those that could be fitted, which are arms. Raises RecordError for a record that is missing or broken."""
    records = {name: artifacts / "baseline" / "fitted" / name / "baseline.json" for name in names}
    return [name for name, file in records.items() if read_json(file, BaselineRecord).fitted]
