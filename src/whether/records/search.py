"""A search and its trials: artifacts/search/<checkpoint>/search.json and trials.jsonl."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class TrialRecord:
    """One trial, a line of trials.jsonl: settings that were tuned with on train and judged on dev."""

    number: int
    """From 0, in the order in which they were run."""
    state: Literal["complete", "pruned", "diverged"]
    settings: dict[str, Any]
    """Searched setting by its dotted name (`adapter.r`) → its value in this trial."""
    value: float | None
    """The best of `values`; None if training diverged before the first evaluation."""
    values: list[float]
    """After each evaluation on dev: the share answered exactly, minus less than one example for the loss."""
    dev_exact: float | None = None
    """Share of dev that greedy decoding answers exactly, after the best evaluation."""
    dev_loss: float | None = None
    """Mean over the answer tokens of dev, after the best evaluation."""
    steps: int | None = None
    """Optimizer steps that were made."""
    trainable_parameters: int | None = None
    trained_tokens: int | None = None
    seconds: float | None = None
    """Wall time of the steps and of the evaluations on dev; what a kill made the trial repeat counts once."""
    started: str = ""
    """UTC, ISO 8601; of the last start, if it was killed."""
    ended: str = ""


@dataclass(frozen=True)
class SearchRecord:
    """What a search is about: search.json. Trials of one file all answer this question."""

    checkpoint: str
    """Whose tuner was varied."""
    key: str
    """SHA-256 of all that decides how a trial ends: space, pruning, tuner, model, data, task and seed."""
    task: str
    model: str
    dtype: str
    seed: int
    train_examples: int
    dev_examples: int
    space: dict[str, Any]
    """Searched setting → {low, high, log} or {choices}."""
    pruner: str
    startup_trials: int
    warmup_evaluations: int
    tuner: dict[str, Any]
    """The checkpoint's own settings, which every trial has but for the searched ones."""
    best: int | None = None
    """Number of the best complete trial."""
    importance: dict[str, float] = field(default_factory=dict)
    """Searched setting → its share of the differences between trials (fANOVA); empty while there are too few trials."""
