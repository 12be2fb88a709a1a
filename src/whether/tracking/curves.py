"""A learning curve as metrics: what MLflow draws over the number of labels, and the crossover."""

from datetime import datetime

from whether.records import LearningCurve, Measurement
from whether.tracking.views import MetricPoint


def curve_history(curve: LearningCurve, time: datetime) -> list[MetricPoint]:
    """Return ways, difference and baselines, each with its interval, at every number of labels as the step."""
    points = []
    for level in curve.levels:
        measured = {"tuned": level.tuned.mean, "prompting": level.prompting.mean, "difference": level.difference}
        measured |= {name: found.mean for name, found in level.baselines.items()}
        for name, found in measured.items():
            points += [
                MetricPoint(f"curve/{name}{end}", value, level.labels, time)
                for end, value in _ends(found).items()
                if value is not None
            ]
    return points


def _ends(found: Measurement) -> dict[str, float | None]:
    return {"": found.value, "_ci_low": found.ci_low, "_ci_high": found.ci_high}


def curve_metrics(curve: LearningCurve) -> dict[str, float]:
    """Return the crossover, what its labels cost, and the prompt without labels; what there is not is left out."""
    crossover = curve.crossover
    found: dict[str, float | None] = {"curve/reference": curve.reference.value if curve.reference else None}
    if crossover is not None:
        found |= {
            "curve/crossover_labels": crossover.labels,
            "curve/crossover_labels_ci_low": crossover.ci_low,
            "curve/crossover_labels_ci_high": crossover.ci_high,
            "curve/crossover_usd": crossover.usd,
        }
    return {name: float(value) for name, value in found.items() if value is not None}
