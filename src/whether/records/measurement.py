"""How a metric is read: its unit, which way is better, and a value with its interval."""

from dataclasses import dataclass


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
