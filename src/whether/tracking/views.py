"""What MLflow is to show, as plain data: nothing here knows MLflow.

A view's content key names what it shows, so a store knows whether it shows that already.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from whether.records import Verdict

RunKind = Literal[
    "pipeline",
    "checkpoint",
    "arm",
    "benchmark",
    "curve",
    "search",
    "trial",
    "retraining",
    "retraining_run",
    "bundle",
]


@dataclass(frozen=True)
class MetricPoint:
    """A number at a training step, or at a number of labels."""

    metric: str
    value: float
    step: int
    time: datetime


@dataclass(frozen=True)
class DatasetView:
    """A split as an input of a run."""

    split: str
    name: str
    digest: str
    """DVC's hash of artifacts/prepare (at most 36 characters)."""
    path: str
    rows: int
    columns: list[str]


@dataclass(frozen=True)
class RunView:
    """One run: what it is called, what it shows, and the key of that content."""

    name: str
    kind: RunKind
    started: datetime
    ended: datetime
    content_key: str = ""
    """SHA-256 of what the run shows."""
    continues: "Appended | None" = None
    """An earlier state of the same run that this one only adds to; None: it stands for itself."""
    note: str = ""
    """What the run is, as Markdown; the pipeline's is written when the runs that it points to are known."""
    params: dict[str, str] = field(default_factory=dict)
    """Dotted path, as in Hydra and DVC → value."""
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[MetricPoint] = field(default_factory=list)
    files: list[tuple[Path, str]] = field(default_factory=list)
    """File and the artifact folder that it is shown in ("" is the root)."""
    texts: dict[str, str] = field(default_factory=dict)
    """Artifact → text."""
    table: list[dict[str, Any]] = field(default_factory=list)
    """Rows of predictions, for side-by-side comparison between runs."""
    datasets: list[DatasetView] = field(default_factory=list)


@dataclass(frozen=True)
class Appended:
    """What a run showed before."""

    content_key: str
    added: list[MetricPoint]
    """What of the history is new since."""


@dataclass(frozen=True)
class PromptView:
    """A prompt's text in the registry, and the arms that asked with it."""

    name: str
    """`<task>.<prompt>`."""
    text: str
    content: str
    """SHA-256 of text and settings: what makes it another version."""
    tags: dict[str, str]
    note: str
    """Said where the version is listed."""
    arms: list[str]


@dataclass(frozen=True)
class TraceView:
    """An arm's answer to an example."""

    arm: str
    example: str
    """Its id."""
    inputs: dict[str, str]
    prompt: str
    """As the model read it."""
    output: str
    answer: str | None
    """What was understood; None: nothing."""
    target: str
    score: float
    valid: bool
    input_tokens: int | None
    output_tokens: int | None
    started: datetime
    seconds: float


@dataclass(frozen=True)
class ModelView:
    """An arm that can be loaded: a version of the task's registered model."""

    arm: str
    content: str
    """SHA-256 of all that answers: what makes it another version."""
    note: str
    tags: dict[str, str]
    """Said of the version now, also where it was there before."""
    bundle: Callable[[Path], Path]
    """Returns the bundle's folder; one that has to be made is made in the given empty folder."""
    first_tags: dict[str, str] = field(default_factory=dict)
    """Said when it is registered; what a version says already is more recent."""


@dataclass(frozen=True)
class ModelViews:
    """The task's registered model."""

    name: str
    note: str
    versions: list[ModelView]
    aliases: dict[str, str | None]
    """Alias → content of the version that it is to name, in the order in which they move; None: it names none. Any
    other alias stays where it is."""


@dataclass(frozen=True)
class Views:
    """A pipeline run and the runs of its stages."""

    verdict: Verdict
    pipeline: RunView
    stages: list[RunView]
    prompts: list[PromptView]
    traces: dict[str, list[TraceView]] = field(default_factory=dict)
    """Arm → some of its answers."""
