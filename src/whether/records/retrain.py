"""What a retraining job keeps: rows that arrived, what each night found and did, and which arm is the champion."""

from dataclasses import dataclass, field
from typing import Any, Literal

from whether.records.files import sha256_json

WARM = "_warm"
"""Ends the name of a checkpoint that goes on from the champion's adapter, with the settings of the name before it."""
MEASUREMENT_FILES = ("verdict.json", "predictions.jsonl", "checkpoint/metrics.json")
"""Files of a bundle that say how it was measured: it answers alike without them."""
Destination = Literal["train", "dev", "recent", "waiting", "unlabelled", "repeat"]
Outcome = Literal["nothing", "promoted", "kept", "needs_person", "failed"]
GateConclusion = Literal["first", "better", "cheaper", "same", "worse", "undecided", "constraint"]


@dataclass(frozen=True)
class CollectedRow:
    """A row that arrived through the inbox: a line of data/collected/<task>.jsonl."""

    id: str
    """`Example.id`: the hash of the inputs."""
    destination: Destination
    """`recent`: held out for the gate while it is new; `waiting`: its label has too few rows yet; `unlabelled`, and
    `repeat` (inputs that were known already): for drift alone."""
    received: str
    """ISO 8601 with time zone: the row's own time, or when it was taken in."""
    night: int
    """In which it was taken in."""
    labelled: int | None
    """Night in which its answer came; None: it has none."""
    file: str
    """Name of the file that brought it."""
    row: dict[str, Any]
    """Its columns, as they came."""


@dataclass(frozen=True)
class Quarantined:
    """A row that cannot be used: a line of retrain/quarantine/<night>-<file>.jsonl."""

    file: str
    line: int
    reason: str
    row: dict[str, Any] | None
    """None where the line is no row at all."""
    text: str = ""
    """The line as it came, where it is no row."""


@dataclass(frozen=True)
class IntakeCounts:
    """What a night took in, in rows."""

    files: int = 0
    labelled: int = 0
    unlabelled: int = 0
    duplicates: int = 0
    """Known already, with the same answer."""
    left_out: int = 0
    """Unlabelled rows beyond the sample that is kept of a night; their files are kept whole."""
    quarantined: int = 0
    waiting: int = 0
    """Rows, of all nights, whose label has too few of them."""
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
    """None: there was nothing to look at."""
    threshold: float | None = None
    """The statistic that fires."""
    p_value: float | None = None
    """Of this night's rows alone, where the trigger tests something; later nights go on from it."""
    rows: int | None = None
    """Rows looked at."""
    state: str | None = None
    """Hash of what was looked at, where a trigger compares states."""


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
    """Further labelled rows that would settle an undecided gate, as an order of magnitude."""


@dataclass(frozen=True)
class BundleRecord:
    """bundle.json: all that answers as one arm did, but for the base model, which is named by its hash.

    Of a served model there are the settings alone: what its provider changes, nobody here sees."""

    id: str
    """Hash of everything below and of the files."""
    arm: str
    checkpoint: str
    prompt_name: str
    task: str
    kind: Literal["prompt", "fine_tune", "both"]
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

    @property
    def content(self) -> str:
        """Hash of what answers, however it was measured: equal for bundles whose answers are."""
        files = {name: digest for name, digest in self.files.items() if name not in MEASUREMENT_FILES}
        return sha256_json([self.arm, self.model_hash, self.model_settings, self.prompt, self.seed, self.served, files])

    @property
    def kin(self) -> tuple[str, str]:
        """Checkpoint and prompt, warm or not: what takes the same to run and to make again."""
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
    night: int
    """In which it was promoted; rows of later nights were not among its training rows."""
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
    """One execution of the job: a line of retrain/nights.jsonl."""

    number: int
    started: str
    """ISO 8601."""
    ended: str
    outcome: Outcome
    reason: str
    """Why, in a sentence."""
    taken: IntakeCounts = field(default_factory=IntakeCounts)
    findings: list[Finding] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    """What a person should look at."""
    examined: bool = False
    """Whether a challenger was made; triggers count from there on."""
    challenger: str | None = None
    """Its arm."""
    gate: GateRecord | None = None
    champion: str | None = None
    """Id of the bundle that answers after this night."""
    champion_arm: str | None = None
    champion_new: MeanScore | None = None
    """On this night's labelled rows, of the bundle that was champion when they came."""
    champion_recent: MeanScore | None = None
    """The champion's on the recent window, after this night."""
    commit: str | None = None
    """Made by this night; None: none."""
    task: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """By step."""
