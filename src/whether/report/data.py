"""What the report shows: the verdict, and what `compare`, `prepare` and `finetune` wrote with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whether.records import Adherence, OutputRow, Robustness, Task, Verdict, read_json, read_jsonl


@dataclass(frozen=True)
class ReportData:
    """Everything on the page."""

    verdict: Verdict
    task: Task
    profile: dict[str, Any]
    """artifacts/prepare/profile.json"""
    outputs: list[OutputRow]
    """The test split with every arm's answer."""
    robustness: dict[str, Robustness]
    """Of the arms where it was measured, best arm on test first."""
    adherence: dict[str, Adherence]
    """Of the arms where it was recorded, best arm on test first."""
    history: dict[str, list[dict[str, Any]]]
    """Tuned checkpoint → its steps (`step`, `loss`) and evaluations (`step`, `dev_loss`) in order."""

    @property
    def level(self) -> float:
        """Confidence level of the intervals."""
        return 1 - float(self.verdict.policy["alpha"])


def read_report_data(compare: Path, artifacts: Path) -> ReportData:
    """Read a folder like artifacts/compare, and what other stages left under `artifacts`. Raises RecordError."""
    prepare = artifacts / "prepare"
    verdict = read_json(compare / "verdict.json", Verdict)
    robustness = read_json(compare / "robustness.json", dict[str, Robustness])
    adherence = read_json(compare / "adherence.json", dict[str, Adherence])
    history = {name: artifacts / "finetune" / name / "history.jsonl" for name in verdict.training}
    return ReportData(
        verdict=verdict,
        task=read_json(prepare / "task.json", Task),
        profile=read_json(prepare / "profile.json"),
        outputs=read_jsonl(compare / "outputs.jsonl", OutputRow),
        robustness={arm: robustness[arm] for arm in verdict.ranking() if arm in robustness},
        adherence={arm: adherence[arm] for arm in verdict.ranking() if arm in adherence},
        history={name: read_jsonl(file) for name, file in history.items() if file.exists()},
    )
