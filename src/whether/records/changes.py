"""What changed since an earlier verdict, as `whether verdict --against … --json` has it."""

from dataclasses import dataclass
from typing import Literal

from whether.records.verdict import Answer

ChangeConclusion = Literal["better", "worse", "unchanged", "not_shown"]


@dataclass(frozen=True)
class ArmChange:
    """An arm of both verdicts, now minus then, on the test examples that both have."""

    arm: str
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    p_adjusted: float
    """After Holm's correction over the arms."""
    n: int
    conclusion: ChangeConclusion
    """`unchanged`: the difference is shown to be smaller than the margin; `not_shown`: the examples cannot tell."""


@dataclass(frozen=True)
class Changes:
    """An earlier verdict next to this one."""

    answer_then: Answer
    answer_now: Answer
    recommended_then: str | None
    recommended_now: str | None
    causes: list[str]
    """What differs in what the verdicts were made from, as clauses."""
    arms: list[ArmChange]
    added: list[str]
    removed: list[str]
    reasons: list[str]
    """Sentences, the most important first."""
