"""What the retraining job keeps: rows that arrived, what each run found and did, and which arm is the champion.

Files of earlier versions have other keys and values (`night` for `run`, `needs_person` for `action_required`). They are
read: `AliasChoices` lists the old key after the new one, and `_renamed` maps old values. Only the new ones are written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from whether.records.files import named_write_errors, read_jsonl, sha256_json, write_jsonl
from whether.records.verdict import Approach


def _renamed(**names: str) -> BeforeValidator:
    """Return a validator that replaces old values by new ones."""
    return BeforeValidator(lambda value: names.get(value, value) if isinstance(value, str) else value)


WARM = "_warm"
"""Suffix of a checkpoint that continues from the champion's adapter, with the settings of the name before it."""
MEASUREMENT_FILES = ("verdict.json", "predictions.jsonl", "checkpoint/metrics.json")
"""Files of a bundle that hold how it was measured: its answers do not depend on them."""
Destination = Annotated[
    Literal["train", "dev", "holdout", "pending", "unlabelled", "duplicate"],
    _renamed(recent="holdout", waiting="pending", repeat="duplicate"),
]
Outcome = Annotated[
    Literal["no_trigger", "promoted", "kept", "action_required", "failed"],
    _renamed(nothing="no_trigger", needs_person="action_required"),
]
GateConclusion = Annotated[
    Literal["first_champion", "better", "cheaper", "same", "worse", "undecided", "constraint"],
    _renamed(first="first_champion"),
]


@dataclass(frozen=True)
class CollectedRow:
    """A row that arrived through the inbox: a line of data/collected/<task>.jsonl."""

    id: str
    """`Example.id`: the hash of the inputs."""
    destination: Destination
    """`holdout`: held out for the gate while it is new, in the split `recent`; `pending`: its label has too few rows
    yet; `unlabelled`, and `duplicate` (inputs that were known already): for drift only."""
    received: str
    """ISO 8601 with time zone: the row's own time, or when it was taken in."""
    run: Annotated[int, Field(validation_alias=AliasChoices("run", "night"))]
    """Number of the retraining run that took it in."""
    labelled_in_run: Annotated[int | None, Field(validation_alias=AliasChoices("labelled_in_run", "labelled"))]
    """Number of the run in which its answer came; None: it has none."""
    file: str
    """Name of the file that it came in."""
    row: dict[str, Any]
    """Its columns, as they came."""


@dataclass(frozen=True)
class Quarantined:
    """A row that cannot be used: a line of retrain/quarantine/<run>-<file>.jsonl."""

    file: str
    line: int
    reason: str
    row: dict[str, Any] | None
    """None where the line is not a row at all."""
    text: str = ""
    """The line as it came, where it is not a row."""


@dataclass(frozen=True)
class IntakeCounts:
    """What a retraining run took in, in rows."""

    files: int = 0
    labelled: int = 0
    unlabelled: int = 0
    duplicates: int = 0
    """Known already, with the same answer."""
    sampled_out: Annotated[int, Field(validation_alias=AliasChoices("sampled_out", "left_out"))] = 0
    """Rows for drift only, beyond the sample of a run that is kept; their files are kept whole."""
    quarantined: int = 0
    below_min_label_rows: Annotated[int, Field(validation_alias=AliasChoices("below_min_label_rows", "waiting"))] = 0
    """Rows, of all runs, whose label has too few of them."""
    new_labels: list[str] = field(default_factory=list)
    """Labels that became part of the task."""
    unknown_labels: dict[str, int] = field(default_factory=dict)
    """Label that the task's settings do not list → rows of it that were set aside."""


@dataclass(frozen=True)
class Finding:
    """What a trigger found."""

    trigger: str
    fired: bool
    reason: str
    """One sentence."""
    statistic: float | None = None
    """None: there was nothing to test."""
    threshold: float | None = None
    """The statistic that fires."""
    p_value: float | None = None
    """Of this run's rows only, where the trigger is a test; later runs continue from it."""
    rows: int | None = None
    """Rows tested."""
    state: str | None = None
    """Hash of the state, where a trigger compares states."""


@dataclass(frozen=True)
class GateSide:
    """Challenger minus champion on one set of examples."""

    name: Literal["test", "recent"]
    champion: float
    challenger: float
    difference: float
    ci_low: float
    ci_high: float
    p_adjusted: float
    n: int


@dataclass(frozen=True)
class GateRecord:
    """Challenger against champion."""

    conclusion: GateConclusion
    reason: str
    """One sentence or more."""
    promote: bool
    sides: list[GateSide] = field(default_factory=list)
    usd_champion: float | None = None
    """A month, at the policy's volume."""
    usd_challenger: float | None = None
    labels_needed: int | None = None
    """Further labelled rows that would decide an undecided gate, as an order of magnitude."""


@dataclass(frozen=True)
class BundleRecord:
    """bundle.json: everything that an arm answers with, except for the base model, which is named by its hash.

    Of a served model there are only the settings: a change by its provider is not visible here."""

    id: str
    """Hash of everything below and of the files."""
    arm: str
    checkpoint: str
    prompt_name: str
    task: str
    kind: Approach
    model: str
    model_hash: str
    """SHA-256 of the base's weights."""
    model_settings: dict[str, Any]
    """The section `model`."""
    prompt: dict[str, Any]
    """Settings of the prompt."""
    prompt_hash: str
    seed: int
    quality: float
    """The primary metric on test."""
    metric: str
    metrics: dict[str, float]
    """On test, and measured cost."""
    commit: str | None
    labels: int
    """Labelled rows in its training split."""
    files: dict[str, str]
    """Path in the bundle → SHA-256."""
    served: dict[str, Any] | None = None
    """Settings of the served model that answers; None: weights do."""
    baseline: dict[str, Any] | None = None
    """`_target_` and settings of the small model that answers without a language model and a prompt."""

    @property
    def content_hash(self) -> str:
        """Hash of all that answers depend on, without how it was measured: equal for bundles with equal answers."""
        files = {name: digest for name, digest in self.files.items() if name not in MEASUREMENT_FILES}
        # The default backend leaves no trace: earlier bundles, which know no other, keep their hash.
        model = {name: value for name, value in self.model_settings.items() if (name, value) != ("backend", "engine")}
        answers_by = [self.arm, self.model_hash, model, self.prompt, self.seed, self.served, files]
        return sha256_json(answers_by + ([self.baseline] if self.baseline else []))

    @property
    def recipe(self) -> tuple[str, str]:
        """Checkpoint, with or without a warm start, and prompt: bundles of one recipe cost the same to run and to make
        again."""
        return self.checkpoint.removesuffix(WARM), self.prompt_name


@dataclass(frozen=True)
class Champion:
    """retrain/champion.json: which bundle answers. The file is replaced whole, and last."""

    champion: str
    """Id of a bundle."""
    previous: str | None
    """The one before it, for a rollback."""
    since: str
    """ISO 8601."""
    run: Annotated[int, Field(validation_alias=AliasChoices("run", "night"))]
    """Number of the retraining run that promoted it; rows of later runs were not among its training rows."""
    reason: str


@dataclass(frozen=True)
class MeanScore:
    """A mean of scores, with Wilson's interval of level 1 - `policy.alpha`."""

    mean: float
    ci_low: float
    ci_high: float
    n: int


@dataclass(frozen=True)
class RetrainingRun:
    """One execution of the retraining job: a line of retrain/runs.jsonl."""

    number: int
    started: str
    """ISO 8601."""
    ended: str
    outcome: Outcome
    reason: str
    """Why, in a sentence."""
    intake: Annotated[IntakeCounts, Field(validation_alias=AliasChoices("intake", "taken"))] = field(
        default_factory=IntakeCounts
    )
    findings: list[Finding] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    """What someone should look at, a sentence each."""
    challenger_trained: Annotated[bool, Field(validation_alias=AliasChoices("challenger_trained", "examined"))] = False
    """Whether a challenger was made; triggers count from there on."""
    challenger: str | None = None
    """Its arm."""
    gate: GateRecord | None = None
    champion: str | None = None
    """Id of the bundle that answers after this run."""
    champion_arm: str | None = None
    champion_new: MeanScore | None = None
    """On this run's labelled rows, of the bundle that was champion when they came."""
    champion_recent: MeanScore | None = None
    """The champion's on the recent window, after this run."""
    commit: str | None = None
    """Made by this run; None: none."""
    task: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """By step."""


_RUNS, _OLD_RUNS = "runs.jsonl", "nights.jsonl"


def read_runs(folder: Path) -> list[RetrainingRun]:
    """Return the retraining runs so far, the first one first, from `folder`/runs.jsonl or the file's old name."""
    files = [file for name in (_RUNS, _OLD_RUNS) if (file := folder / name).exists()]
    return read_jsonl(files[0], RetrainingRun) if files else []


def write_runs(folder: Path, runs: Sequence[RetrainingRun]) -> None:
    """Write all retraining runs to `folder`/runs.jsonl, atomically; the old name, where there is only that, goes."""
    file, old = folder / _RUNS, folder / _OLD_RUNS
    if old.exists() and not file.exists():
        with named_write_errors(file):
            old.rename(file)
    write_jsonl(file, runs)
