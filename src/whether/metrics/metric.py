"""A metric of answers: what one example adds up to, and what the sum means.

A metric that is a mean has one number an example; one of the whole corpus, such as macro-F1, has as many as its value
is made from. So the intervals, tests and curves of `whether.stats` need the totals and their value, and never a name.
The settings are conf/metric/<name>.yaml: `whether.config.MetricConfig`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whether.config import CONF, MetricConfig, bind
from whether.errors import ConfigError
from whether.records import Measurement, MetricInfo, Task

Floats = NDArray[np.float64]
Totals = Callable[[Task, str | None, str], Sequence[float] | Floats]
"""Task, answer (None where nothing valid was found) and target → the k numbers of one example."""
Value = Callable[[Floats, Any], Any]
"""Sums of totals, shape (..., k), and the number of examples that they are over, which broadcasts with the leading axes
→ the values, shape (...)."""


def mean(totals: Floats, n: Any) -> Any:
    """Return the mean of one number an example."""
    return totals[..., 0] / n


@dataclass(frozen=True)
class Metric:
    """A metric of answers. It satisfies `whether.stats.totals.Estimator`."""

    name: str
    info: MetricInfo
    totals: Totals
    value: Value = mean
    effective_n: Callable[[Floats, int], float] | None = None
    """Sums of totals, shape (k,), and number of examples → how many examples the value is worth; None: all."""
    is_bounded: bool = True
    """Whether it lies in [0, 1]."""

    @property
    def is_mean(self) -> bool:
        """Whether it is the mean of one number an example."""
        return self.value is mean

    def table(self, task: Task, answers: Sequence[str | None], targets: Sequence[str]) -> Floats:
        """Return the totals of each example, shape (n, k). Raises ConfigError for totals that are no such numbers."""
        known: dict[tuple[str | None, str], Any] = {}
        for pair in zip(answers, targets, strict=True):
            if pair not in known:
                known[pair] = self._row(task, *pair)
        widths = {row.shape for row in known.values()}
        if len(widths) > 1:
            raise ConfigError(
                f"{setting_of(self.name, 'totals')} gives {sorted(widths)} numbers an example: expected as many"
            )
        return np.array([known[pair] for pair in zip(answers, targets, strict=True)])

    def _row(self, task: Task, answer: str | None, target: str) -> Floats:
        where = f"{setting_of(self.name, 'totals')} for the answer {answer!r:.60} and the target {target!r:.60}"
        try:
            row = np.asarray(self.totals(task, answer, target), dtype=np.float64)
        except Exception as error:  # noqa: BLE001 - a user's function can raise anything
            raise ConfigError(f"{where}: {error!r}") from None
        expected = "one number" if self.is_mean else "numbers"
        if row.ndim != 1 or not row.size or (self.is_mean and row.size > 1) or not np.isfinite(row).all():
            raise ConfigError(f"{where}: expected a list of {expected}, and it is {row.tolist()}")
        if self.is_mean and self.is_bounded and not 0 <= row[0] <= 1:
            raise ConfigError(f"{where}: {row[0]:g} does not lie in [0, 1]; a metric of any size needs range: null")
        return row

    def estimate(self, totals: Floats) -> float:
        """Return the metric of totals of shape (n, k), or its mean over runs for (runs, n, k).

        Raises ConfigError for a `value` that returns no such numbers.
        """
        if self.is_mean:
            return float(totals[..., 0].mean())
        return float(np.mean(self._values(totals)))

    def _values(self, totals: Floats) -> Floats:
        """Return the values of totals (..., n, k), shape (..., 1). Raises ConfigError for what is no such value."""
        where, sums = setting_of(self.name, "value"), totals.sum(-2)[..., None, :]
        try:
            found = np.asarray(self.value(sums, totals.shape[-2]), dtype=np.float64)
        except Exception as error:  # noqa: BLE001 - a user's function can raise anything
            raise ConfigError(f"{where} for sums of totals of shape {sums.shape}: {error!r}") from None
        if found.shape != sums.shape[:-1]:
            raise ConfigError(
                f"{where} gives shape {found.shape} for sums of totals of shape {sums.shape}: expected"
                f" {sums.shape[:-1]}, a value for each leading axis; take numbers as totals[..., 0], totals[..., 1]"
            )
        if not np.isfinite(found).all() or (self.is_bounded and not ((found >= 0) & (found <= 1 + 1e-9)).all()):
            expected = "a number in [0, 1]; a metric of any size needs range: null" if self.is_bounded else "a number"
            raise ConfigError(f"{where} is {found.ravel().tolist()}: expected {expected}")
        return found

    def measurement(
        self, value: float | None, ci: tuple[float, float] | None = None, n: int | None = None
    ) -> Measurement:
        """Return a value with its unit and direction."""
        low, high = ci if ci else (None, None)
        return Measurement(value, self.info.unit, self.info.higher_is_better, low, high, n)


def quality_metrics(metrics: Mapping[str, MetricConfig], output: str, named: Collection[str] = ()) -> dict[str, Metric]:
    """Return the metrics of a section `metrics` that a kind of output has, in the order of config.

    Those are the ones whose `outputs` name it, and the ones that it names itself.
    """
    return {
        name: metric_of(name, settings)
        for name, settings in metrics.items()
        if settings.goes_with(output) or name in named
    }


def setting_of(name: str, setting: str) -> str:
    """Return how messages name a setting of a metric: with the file that it is from."""
    return f"metrics.{name}.{setting} (in {CONF / 'metric' / name}.yaml)"


def metric_of(name: str, settings: MetricConfig) -> Metric:
    """Return a metric from its settings."""
    where = f"metrics.{name}"
    return Metric(
        name=name,
        info=MetricInfo(
            settings.label, settings.unit, settings.higher_is_better, settings.description, settings.question
        ),
        totals=bind(settings.totals, f"{where}.totals"),
        value=bind(settings.value, f"{where}.value") if settings.value else mean,
        effective_n=bind(settings.effective_n, f"{where}.effective_n") if settings.effective_n else None,
        is_bounded=settings.range is not None,
    )


def measure_quality(
    metrics: Mapping[str, Metric], task: Task, answers: Sequence[str | None], targets: Sequence[str]
) -> dict[str, float]:
    """Return the value of each metric."""
    return {name: metric.estimate(metric.table(task, answers, targets)) for name, metric in metrics.items()}
