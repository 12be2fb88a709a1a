"""Arms that dev shows to be worse than another one of their kind, so that test is not asked of them."""

from dataclasses import dataclass
from pathlib import Path

from whether.records.files import read_json


@dataclass(frozen=True)
class RacedArm:
    """Why an arm was not asked for test: artifacts/race/<checkpoint>.json has prompt → this."""

    better: str
    """The arm of its kind that is shown to be better on dev; of several the best one."""
    metric: str
    """The primary metric, of which these are."""
    difference: float
    """The arm minus the better one, on dev."""
    ci_low: float
    """Of an interval that holds for all pairs of arms of the race together."""
    ci_high: float
    n: int
    """Examples of dev."""


def raced_arms(artifacts: Path, checkpoint: str) -> dict[str, RacedArm]:
    """Return prompt → why the arm of this checkpoint was not asked for test; empty where no race was run."""
    file = artifacts / "race" / f"{checkpoint}.json"
    return read_json(file, dict[str, RacedArm]) if file.exists() else {}
