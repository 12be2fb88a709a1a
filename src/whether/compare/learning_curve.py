"""Quality against number of labels, tuned and prompted, and where tuning overtakes.

At each number of labels and for each seed two ways are compared on the same test examples: the tuned checkpoint with
its plain prompt, and base with the prompt that is best on dev among those that use the same labels and the plain one.
Means over seeds are fitted by a power law for each way (`whether.stats.power_law`).

**The crossover** is the number of labels from which on the fitted curve of tuning is above that of prompting, up to the
largest number measured. Where it is above already at the smallest number, or not above at the largest, the crossover
lies outside of what was measured and no number is given. Nothing is extrapolated.

**Uncertainty** is that of new examples and of new seeds (another draw of labels, another training run), by a bootstrap
on two levels: test examples are resampled, the same ones at every number of labels, for every seed and for both ways;
and seeds are resampled, the same ones at every number and for both ways. Examples that come in groups (`task.group`)
are resampled by group. Deviations of resampled seeds from their mean are widened by sqrt(seeds / (seeds - 1)), without
which few seeds would vary too little (Davison and Hinkley 1997, section 3.8; Rao and Wu 1988); so are those of groups.
With a single seed the variation between seeds is unknown and not in the intervals. Each resample is fitted again: its
curves give the band, its crossover the interval (percentiles; a crossover outside of what was measured counts as before
the smallest number or beyond the largest). Intervals of single values are Wilson's for as many examples as have the
variance of the resamples, at most those that there are.
"""

import dataclasses
from typing import Any, NamedTuple, get_args

import numpy as np

from whether.compare.curve_points import CurveApproach, CurveData, Points, to_arrays
from whether.compare.curve_reasons import curve_reasons
from whether.compare.results import Results
from whether.config import Config
from whether.metrics.metric import Metric
from whether.records import Crossover, CurveLevel, CurveValue, FittedPoint, LearningCurve, Measurement, PowerLaw
from whether.stats.intervals import Codes, Floats, InferenceSettings, rate_interval
from whether.stats.power_law import PowerLaws, crossings, fit
from whether.stats.totals import estimate_interval

GRID_POINTS = 40
"""At which the fitted curves are written for drawing, evenly spread over the logarithm of the number of labels."""
FITTED: tuple[CurveApproach, ...] = get_args(CurveApproach)
"""The ways whose curves are fitted and cross; baselines are values at the points."""
_BATCH = 2_000_000
"""Resampled answers held in memory at once."""


class FittedCurves(NamedTuple):
    """Of each way: quality, as observed and in resamples; and the fitted curves of tuning and prompting."""

    labels: Floats
    """Shape (levels,)."""
    observed: dict[str, Floats]
    """Shape (levels,)."""
    resampled: dict[str, Floats]
    """Shape (resamples, levels)."""
    laws: dict[CurveApproach, PowerLaws]
    """Of one row."""
    resampled_laws: dict[CurveApproach, PowerLaws]


def learning_curve(
    config: Config, study: Results, points: Points, metric: Metric, settings: InferenceSettings
) -> LearningCurve | None:
    """Return the learning curve; None where no point of it is there."""
    if not points:
        return None
    data, price = to_arrays(config.curve, points, study, metric), config.pricing.usd_per_label
    checkpoint, seeds = str(config.curve.checkpoint), list(config.curve.seeds)
    if not data.labels:
        why = "; ".join(dict.fromkeys(data.not_measured.values()))
        reasons = [f"The learning curve was not measured: {why}."]
        return LearningCurve(metric.name, checkpoint, seeds, reasons, not_measured=data.not_measured)
    curves = fit_curves(data, settings)
    levels = [_level(data, place, curves, settings, price) for place in range(len(data.labels))]
    curve = LearningCurve(
        metric=metric.name,
        checkpoint=checkpoint,
        seeds=seeds,
        reasons=[],
        levels=levels,
        test_examples=data.examples,
        dev_labels=data.dev_labels,
        dev_usd=data.dev_labels * price,
        reference=_reference(data, settings),
        fits={way: _power_law(data.labels[0], law) for way, law in curves.laws.items()},
        fitted=_positions(curves, settings.level),
        crossover=find_crossover(curves, settings.level, price),
        not_measured=data.not_measured,
    )
    return dataclasses.replace(curve, reasons=curve_reasons(curve, metric.info, settings.level))


def fit_curves(data: CurveData, settings: InferenceSettings) -> FittedCurves:
    """Return quality at each number of labels and the fitted curves, as observed and in resamples."""
    labels = np.array(data.labels, dtype=np.float64)
    observed = {way: by_seed(totals, data.metric).mean(1) for way, totals in data.ways.items()}
    resampled = resample(data, settings)
    laws = {way: fit(labels, observed[way][None, :]) for way in FITTED}
    return FittedCurves(labels, observed, resampled, laws, {way: fit(labels, resampled[way]) for way in FITTED})


def resample(data: CurveData, settings: InferenceSettings) -> dict[str, Floats]:
    """Return quality at each number of labels in resamples of examples and seeds, shape (resamples, levels)."""
    rng = np.random.default_rng(settings.seed)
    levels, seeds, examples, _ = data.tuned.shape
    groups = int(data.groups.max()) + 1
    grouped = groups < examples
    batch = max(1, _BATCH // (levels * seeds * examples))
    parts: dict[str, list[Floats]] = {way: [] for way in data.ways}
    for start in range(0, settings.resamples, batch):
        size = min(batch, settings.resamples - start)
        weights = rng.multinomial(groups, np.full(groups, 1 / groups), size=size)[:, data.groups]
        moved = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=size) / seeds - 1 / seeds
        wider = np.sqrt(seeds / (seeds - 1)) if seeds > 1 else 0.0
        for way, totals in data.ways.items():
            quality = weighted(totals, weights, data.metric)
            if grouped:
                centre = by_seed(totals, data.metric)[:, :, None]
                quality = centre + (quality - centre) * np.sqrt(groups / max(1, groups - 1))
            parts[way].append(quality.mean(1) + wider * np.einsum("lsr,rs->lr", quality, moved))
    return {way: np.clip(np.concatenate(values, axis=1).T, 0, 1) for way, values in parts.items()}


def by_seed(totals: Floats, metric: Metric) -> Floats:
    """Return the metric of totals of shape (..., examples, k) for each of the leading axes."""
    found: Floats = metric.value(totals.sum(-2), totals.shape[-2])
    return found


def weighted(totals: Floats, weights: Codes, metric: Metric) -> Floats:
    """Return the metric of totals (levels, seeds, examples, k) in which an example counts as often as `weights` say.

    Weights have shape (resamples, examples), the result (levels, seeds, resamples).
    """
    levels, seeds, _, k = totals.shape
    step = max(1, _BATCH // (levels * seeds * k))
    parts = [weights[start : start + step] for start in range(0, len(weights), step)]
    values = [metric.value(part.astype(np.float64) @ totals, part.sum(1)) for part in parts]
    return np.concatenate(values, axis=-1)


def find_crossover(curves: FittedCurves, level: float, price: float) -> Crossover:
    """Return where the fitted curves cross, with the interval that the resamples give."""
    labels = curves.labels
    found = float(crossings(labels, curves.laws["tuned"], curves.laws["prompting"])[0])
    resampled = np.sort(crossings(labels, curves.resampled_laws["tuned"], curves.resampled_laws["prompting"]))
    cut = int((1 - level) / 2 * len(resampled))
    low, high = resampled[cut], resampled[-1 - cut]
    number = int(np.ceil(found)) if np.isfinite(found) else None
    return Crossover(
        outcome="at" if number else "ahead" if found < 0 else "not_reached",
        labels=number,
        ci_low=None if low == -np.inf else int(min(low, labels[-1])),
        ci_high=None if high == np.inf else int(np.ceil(max(high, labels[0]))),
        shares={
            "ahead": float(np.mean(resampled == -np.inf)),
            "at": float(np.mean(np.isfinite(resampled))),
            "not_reached": float(np.mean(resampled == np.inf)),
        },
        usd=number * price if number else None,
    )


def _level(data: CurveData, place: int, curves: FittedCurves, settings: InferenceSettings, price: float) -> CurveLevel:
    values = {way: _value(data, way, place, curves, settings.level) for way in data.ways}
    differences = curves.resampled["tuned"][:, place] - curves.resampled["prompting"][:, place]
    difference = float(curves.observed["tuned"][place] - curves.observed["prompting"][place])
    low, high = map(float, _percentiles(differences, settings.level))
    interval = (low, high) if np.ptp(differences) > 0 else None
    return CurveLevel(
        labels=data.labels[place],
        usd=data.labels[place] * price,
        tuned=values["tuned"],
        prompting=values["prompting"],
        chosen=data.chosen[place],
        difference=data.metric.measurement(difference, interval, data.examples),
        baselines={name: values[name] for name in data.baselines},
    )


def _value(data: CurveData, way: str, place: int, curves: FittedCurves, level: float) -> CurveValue:
    """Return the mean over seeds with Wilson's interval for the number of examples that has its variance."""
    values = by_seed(data.ways[way][place], data.metric)
    mean, variance, n = float(values.mean()), float(curves.resampled[way][:, place].var()), data.examples
    effective = min(n, mean * (1 - mean) / variance) if variance > 0 and 0 < mean < 1 else n
    interval = rate_interval(mean * effective, effective, level)
    return CurveValue(data.metric.measurement(mean, interval, n), [float(value) for value in values])


def _reference(data: CurveData, settings: InferenceSettings) -> Measurement | None:
    if data.reference is None:
        return None
    if int(data.groups.max()) + 1 < data.examples:
        settings = settings._replace(clusters=data.groups)
    interval = estimate_interval(data.reference, data.metric, settings)
    return data.metric.measurement(data.metric.estimate(data.reference), interval, data.examples)


def _power_law(labels: int, law: PowerLaws) -> PowerLaw:
    return PowerLaw(labels, float(law.low[0]), float(law.top[0]), float(law.rate[0]))


def _positions(curves: FittedCurves, level: float) -> list[FittedPoint]:
    """Return the fitted curves and their bands over the numbers of labels that were measured."""
    first, last = curves.labels[0], curves.labels[-1]
    shares = np.geomspace(1.0, last / first, GRID_POINTS if last > first else 1)
    columns: dict[str, Floats] = {"labels": first * shares}
    for way, law in curves.laws.items():
        band = _percentiles(curves.resampled_laws[way].at(shares), level)
        columns |= {way: law.at(shares)[0], f"{way}_low": band[0], f"{way}_high": band[1]}
    names = columns.keys()
    return [
        FittedPoint(**dict(zip(names, map(float, row), strict=True))) for row in zip(*columns.values(), strict=True)
    ]


def _percentiles(values: Floats, level: float) -> Any:
    """Return the interval's two ends over the first axis."""
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
