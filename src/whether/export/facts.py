"""What a model card says, read from the records: the checkpoint, its data, what was measured and what it cost.

What is not there is None and reads "not measured". Numbers of another run are never shown: records that do not belong
together are an error, and a verdict that is older than what it speaks of is left out.
"""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whether.compare.provenance import provenance
from whether.config import BASE, Config
from whether.errors import RecordError
from whether.model.precision import precision_of
from whether.records import (
    CHECKPOINT,
    CheckpointMetrics,
    CheckpointRecord,
    Example,
    Provenance,
    Task,
    TaskResult,
    Verdict,
    read_json,
    read_jsonl,
    sha256_file,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CardData:
    """Everything that a card is written from."""

    name: str
    """The checkpoint's."""
    config: Config
    dtype: str
    """Precision of the exported weights."""
    measured_dtype: str
    """Precision in which the checkpoint was trained and measured."""
    checkpoint: CheckpointRecord
    training: CheckpointMetrics
    task: Task
    profile: dict[str, Any]
    """artifacts/prepare/profile.json."""
    variables: list[str]
    """Names of the inputs that a prompt is made of."""
    source: dict[str, Any]
    """artifacts/model/source.json: where the base model is from."""
    data_sha256: str | None
    """Of the task's data file; None if it is not there any more."""
    verdict: Verdict | None
    """None where the arms were not compared, or not since the checkpoint was made."""
    retention: dict[str, TaskResult] | None
    """Of the checkpoint, by task of the benchmark."""
    base_retention: dict[str, TaskResult] | None
    provenance: Provenance
    """The verdict's, which is of the run that measured; without one, of this export."""


def read_card_data(name: str, config: Config, artifacts: Path, dtype: str | None) -> CardData:
    """Read the records of checkpoint `name`, to be exported in `dtype`; None: in the precision that it was trained in.

    Raises RecordError for one that is missing or broken, and for params.yaml of another run than the records.
    """
    task = read_json(artifacts / "prepare" / "task.json", Task)
    checkpoint = read_json(artifacts / "finetune" / name / CHECKPOINT / "checkpoint.json", CheckpointRecord)
    _check_same_run(config, task, checkpoint)
    now = provenance(artifacts)
    measured_dtype = checkpoint.dtype or precision_of(config.model)
    verdict = _read_verdict(name, task, now, artifacts)
    data = Path(config.task.source.path)
    first = read_jsonl(artifacts / "prepare" / "train.jsonl", Example)[0]
    source = artifacts / "model" / "source.json"
    return CardData(
        name=name,
        config=config,
        dtype=dtype or measured_dtype,
        measured_dtype=measured_dtype,
        checkpoint=checkpoint,
        training=read_json(artifacts / "finetune" / name / "metrics.json", CheckpointMetrics),
        task=task,
        profile=read_json(artifacts / "prepare" / "profile.json"),
        variables=list(first.inputs),
        source=read_json(source).get("source", {}) if source.exists() else {},
        data_sha256=sha256_file(data) if data.is_file() else None,
        verdict=verdict,
        retention=_read_retention(name, artifacts) if verdict else None,
        base_retention=_read_retention(BASE, artifacts) if verdict else None,
        provenance=verdict.provenance if verdict else now,
    )


def _check_same_run(config: Config, task: Task, checkpoint: CheckpointRecord) -> None:
    for what, recorded, current in (
        ("task", task.name, config.task.name),
        ("model", checkpoint.model, config.model.name),
    ):
        if recorded != current:
            raise RecordError(
                f"artifacts/ holds the {what} {recorded}, and params.yaml says {current}: run `whether run` with"
                f" the settings that you want, or go back to those of {recorded}"
            )


def _read_verdict(name: str, task: Task, now: Provenance, artifacts: Path) -> Verdict | None:
    """Return the verdict if it is on this checkpoint, with this data and this model."""
    file = artifacts / "compare" / "verdict.json"
    if not file.exists():
        return None
    verdict = read_json(file, Verdict)
    reasons = _changed_inputs(artifacts)
    if (verdict.task, verdict.provenance.data_hash) != (task.name, now.data_hash):
        reasons.append("other examples")
    if verdict.provenance.model_hash != now.model_hash:
        reasons.append("another base model")
    if not any(arm.checkpoint == name for arm in verdict.arms.values()):
        reasons.append(f"other checkpoints than {name}")
    if reasons:
        logger.warning(
            "%s is left out of the card, for it was made from: %s. Run `dvc repro`, then export again.",
            file, ", ".join(reasons),
        )  # fmt: skip
        return None
    return verdict


def _changed_inputs(artifacts: Path) -> list[str]:
    """Return the records that differ, as DVC knows, from those that artifacts/compare was made from."""
    if not (artifacts.parent / "dvc.lock").is_file():
        return []
    command = [sys.executable, "-m", "dvc", "status", "--json", "compare"]
    result = subprocess.run(command, cwd=artifacts.parent, capture_output=True, text=True, check=False)
    if result.returncode:
        logger.warning("DVC cannot tell whether artifacts/compare is up to date: %s", result.stderr.strip())
        return []
    changes = [change for entry in json.loads(result.stdout).get("compare", []) if isinstance(entry, dict)
               for change in entry.values() if isinstance(change, dict)]  # fmt: skip
    return [f"an earlier {path}" for change in changes for path in change if path.startswith("artifacts/")]


def _read_retention(checkpoint: str, artifacts: Path) -> dict[str, TaskResult] | None:
    file = artifacts / "benchmark" / checkpoint / "results.json"
    return read_json(file, dict[str, TaskResult]) if file.exists() else None
