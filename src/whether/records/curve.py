"""The learning curve: its points (artifacts/curve/data/<labels>-<seed>/) and what the analysis of them says."""

from dataclasses import dataclass, field
from typing import Literal

from whether.records.measurement import Measurement
from whether.records.task import Split


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


@dataclass(frozen=True)
class CurveArm:
    """An arm of a point: an entry of requests/arms.json."""

    name: str
    prompt: str
    tuned: bool
    """Whether the checkpoint answers that was tuned on the point's labels; False: base does."""


@dataclass(frozen=True)
class CurveAnswer:
    """One answer of one arm at a point."""

    arm: str
    id: str
    """`Example.id`."""
    split: Split
    answer: str | None
    """What was understood, as in `Prediction`."""
    target: str
    score: float
    """In [0, 1]; 1.0 is right."""


@dataclass(frozen=True)
class CurveValue:
    """The primary metric of one way at one number of labels, on test."""

    mean: Measurement
    """Over seeds; its interval is over examples and, with two seeds or more, over seeds."""
    by_seed: list[float]
    """In the order of `LearningCurve.seeds`."""


@dataclass(frozen=True)
class CurveLevel:
    """What was measured with one number of labels."""

    labels: int
    usd: float
    """Price of these labels by the price list; those of dev come on top."""
    tuned: CurveValue
    """The tuned checkpoint with its plain prompt."""
    prompting: CurveValue
    """Base with the prompt that dev chose, for each seed."""
    chosen: dict[str, int]
    """Arm of base → seeds for which dev chose it."""
    difference: Measurement
    """Tuned minus prompting, paired by example and seed."""
    baselines: dict[str, CurveValue] = field(default_factory=dict)
    """Of each baseline that was fitted on the same labels."""


@dataclass(frozen=True)
class PowerLaw:
    """Quality with n labels: top - (top - low) · (n / labels)^-rate, for n from `labels` on."""

    labels: int
    """The smallest number measured."""
    low: float
    """Quality there."""
    top: float
    """Quality that it tends to; at most 1."""
    rate: float


@dataclass(frozen=True)
class FittedPoint:
    """The fitted curves at one number of labels, with the band that resamples give; for drawing."""

    labels: float
    tuned: float
    tuned_low: float
    tuned_high: float
    prompting: float
    prompting_low: float
    prompting_high: float


@dataclass(frozen=True)
class Crossover:
    """From how many labels on tuning is ahead of prompting, up to the largest number measured, by the fitted curves."""

    outcome: Literal["at", "ahead", "not_reached"]
    """`at` a number of labels; `ahead` already at the smallest number measured; `not_reached` at the largest."""
    labels: int | None
    """The number, rounded up; None unless `at`."""
    ci_low: int | None
    """Lower end of the interval; None: it may be at or below the smallest number measured."""
    ci_high: int | None
    """Upper end; None: it may be beyond the largest number measured, or never."""
    shares: dict[str, float]
    """Outcome → share of resamples."""
    usd: float | None
    """Price of `labels` labels; None unless `at`."""


@dataclass(frozen=True)
class LearningCurve:
    """Quality against number of labels: how many labels does tuning need to pay?"""

    metric: str
    """The primary metric: a key of the verdict's `metrics`."""
    checkpoint: str
    """The tuned one."""
    seeds: list[int]
    reasons: list[str]
    """What was found, in sentences, the crossover first."""
    levels: list[CurveLevel] = field(default_factory=list)
    """By number of labels, rising; empty where nothing was measured."""
    test_examples: int | None = None
    """Test examples that every point answered."""
    dev_labels: int | None = None
    """Labelled examples of dev, which both ways need, too: they choose the best step and the best prompt."""
    dev_usd: float | None = None
    """Their price."""
    reference: Measurement | None = None
    """Base with the plain prompt, which needs no labels, on the same test examples; None: not measured."""
    fits: dict[Literal["tuned", "prompting"], PowerLaw] = field(default_factory=dict)
    fitted: list[FittedPoint] = field(default_factory=list)
    crossover: Crossover | None = None
    """None where nothing was measured."""
    not_measured: dict[str, str] = field(default_factory=dict)
    """Number of labels → why it was left out."""
