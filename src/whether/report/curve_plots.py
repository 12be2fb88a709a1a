"""The picture of a learning curve: quality against number of labels, tuned and prompted."""

from collections.abc import Mapping
from typing import Any

from whether.printing.pictures import plain
from whether.records import Crossover, LearningCurve

_KINDS = {"tuned": "fine_tune", "prompting": "prompt"}
_MARKERS = {"tuned": "s", "prompting": "o"}
_APART = {"tuned": 1.02, "prompting": 1 / 1.02}
"""Factors that keep the intervals of the two ways from covering each other."""


_BOTTOM = -0.07
"""Where the interval of the crossover is drawn: below all qualities."""


def plot_learning_curve(axes: Any, curve: LearningCurve, metric: str, colours: Mapping[str, str]) -> None:
    """Draw means with intervals, each seed, fitted curves with bands, the label-free prompt, and the crossover.

    `metric` is how the one on the curve reads.
    """
    labels = [level.labels for level in curve.levels]
    axes.set_xscale("log")
    for way, kind in _KINDS.items():
        _fitted(axes, curve, way, colours[kind])
        _measured(axes, curve, way, colours[kind])
    for name in curve.levels[-1].baselines:
        _baseline(axes, curve, name, colours["neither"])
    if curve.reference is not None:
        axes.axhline(curve.reference.value, color=colours["prompt"], linestyle=":", linewidth=1.2)
    if curve.crossover is not None and len(labels) > 1:
        _crossover(axes, curve.crossover, labels, colours)
    edge = 1.12
    axes.set(xlim=(labels[0] / edge, labels[-1] * edge), ylim=(-0.11, 1.03))
    axes.set_yticks([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.set(xlabel="labelled training examples", ylabel=f"{plain(metric)} on test")
    axes.set_xticks(labels, [f"{number:,}" for number in labels])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(lambda tick, _: f"{100 * tick:.0f}%")
    axes.figure.set_size_inches(axes.figure.get_figwidth(), 3.4)


def _fitted(axes: Any, curve: LearningCurve, way: str, colour: str) -> None:
    places = [position.labels for position in curve.fitted]
    values, lows, highs = (
        [getattr(position, f"{way}{end}") for position in curve.fitted] for end in ("", "_low", "_high")
    )
    axes.fill_between(places, lows, highs, color=colour, alpha=0.14, linewidth=0)
    axes.plot(places, values, color=colour, linewidth=1.8)


def _measured(axes: Any, curve: LearningCurve, way: str, colour: str) -> None:
    for level in curve.levels:
        found, place = getattr(level, way), level.labels * _APART[way]
        axes.plot([place, place], [found.mean.ci_low, found.mean.ci_high], color=colour, linewidth=1.2)
        axes.plot(place, found.mean.value, _MARKERS[way], color=colour, markersize=6)
        if len(found.by_seed) > 1:
            axes.plot([place] * len(found.by_seed), found.by_seed, "_", color=colour, markersize=7)


def _baseline(axes: Any, curve: LearningCurve, name: str, colour: str) -> None:
    """Draw a baseline as points with intervals; no curve is fitted to it."""
    places = [level.labels for level in curve.levels]
    found = [level.baselines[name].mean for level in curve.levels]
    axes.plot(places, [row.value for row in found], "^--", color=colour, markersize=6, linewidth=0.9)
    for place, row in zip(places, found, strict=True):
        axes.plot([place, place], [row.ci_low, row.ci_high], color=colour, linewidth=1.2)


def _crossover(axes: Any, crossover: Crossover, labels: list[int], colours: Mapping[str, str]) -> None:
    """Mark the crossover, and its interval along the bottom; an open end is an arrow at the edge."""
    low, high = crossover.ci_low or labels[0], crossover.ci_high or labels[-1]
    axes.plot([low, high], [_BOTTOM, _BOTTOM], color=colours["ink"], linewidth=3, solid_capstyle="butt")
    for end, place, marker in ((crossover.ci_low, low, "<"), (crossover.ci_high, high, ">")):
        axes.plot(place, _BOTTOM, "|" if end else marker, color=colours["ink"], markersize=7)
    if crossover.labels is not None:
        axes.axvline(crossover.labels, color=colours["ink"], linestyle="--", linewidth=1)
