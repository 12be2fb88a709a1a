"""How a metric is read: its unit, which way is better, and a value with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class MetricInfo:
    """How to read a metric."""

    label: str
    """Its name in tables and sentences."""
    unit: str
    """One of `whether.metrics.format.UNITS`; one that a later version has is not shown."""
    higher_is_better: bool
    description: str
    """What it is, in a sentence without an end."""
    question: str = ""
    """What people ask that it answers; of metrics of answers."""
    is_change: bool = False
    """Whether it is a difference of fractions, which reads as percentage points."""


@dataclass(frozen=True)
class Measurement:
    """A number with what is needed to judge it. `value` is None where it was not measured, never 0."""

    value: float | None
    unit: str
    higher_is_better: bool
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    """Observations behind the value."""


def sum_known(values: Sequence[Number | None]) -> Number | None:
    """Return a sum; None if one of the values was not measured."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def mean_known(values: Sequence[float | None]) -> float | None:
    """Return a mean of at least one value; None if one of them was not measured."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
