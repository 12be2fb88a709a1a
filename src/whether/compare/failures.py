"""Rows that an arm did not answer, as the verdict says it."""

from pathlib import Path

from whether.compare.results import Arm, Results
from whether.records import FailedRow, read_jsonl


def failed_sentences(study: Results, artifacts: Path) -> list[str]:
    """Return a sentence for each arm with rows of dev or test that it did not answer, and one for the others."""
    failed = {name: _count(arm) for name, arm in study.arms.items()}
    if not any(failed.values()):
        return []
    said = [_sentence(study.arms[name], count, artifacts) for name, count in failed.items() if count]
    others = [name for name, count in failed.items() if not count]
    return [*said, f"All rows were answered by {', '.join(others)}."] if others else said


def _count(arm: Arm) -> int:
    return sum(bool(row.error) for row in [*arm.dev, *arm.test])


def _sentence(arm: Arm, count: int, artifacts: Path) -> str:
    file = artifacts / "score" / arm.name / "failed.jsonl"
    of = len(arm.dev) + len(arm.test)
    lead = f"{arm.name} did not answer {count} of {of} rows, which count as wrong"
    rows = read_jsonl(file, FailedRow) if file.exists() else []
    if not rows:
        return f"{lead}."
    first = rows[0]
    where = f"{first.file}, line {first.line}" if first.file else first.id
    return f"{lead}; the first is {where}: {first.reason} (all: artifacts/score/{arm.name}/failed.jsonl)."
