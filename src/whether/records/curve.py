"""What a point of the learning curve leaves in artifacts/curve/<labels>-<seed>/: point.json and answers.jsonl."""

from dataclasses import dataclass, field

from whether.records.task import Split


@dataclass(frozen=True)
class CurveTraining:
    """What tuning on a point's labels took, as finetune's metrics.json says it."""

    steps: int
    """Optimizer steps that were made."""
    train_seconds_with_evaluation: float


@dataclass(frozen=True)
class CurvePoint:
    """What was measured with so many labels: point.json."""

    labels: int
    """Labelled training examples: all that tuning and prompts saw."""
    seed: int
    checkpoint: str
    tuned: str | None = None
    """The arm whose checkpoint was tuned on these labels; None where nothing was measured."""
    prompts: list[str] = field(default_factory=list)
    """The arms of base whose prompts had these labels as their pool."""
    not_measured: dict[str, str] = field(default_factory=dict)
    """Arm, or `all` → why."""
    dev_labels: int | None = None
    """Further labelled examples, which chose the best step and the best prompt: the same at every point."""
    repeats: int | None = None
    """How often an epoch showed each example, so that there were steps enough."""
    training: CurveTraining | None = None


@dataclass(frozen=True)
class CurveAnswer:
    """One answer of one arm at a point: a line of answers.jsonl."""

    arm: str
    id: str
    """`Example.id`."""
    split: Split
    answer: str | None
    """What was understood, as in `Prediction`."""
    target: str
    score: float
    """In [0, 1]; 1.0 is right."""
