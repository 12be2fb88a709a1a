"""Pictures as SVG: the same numbers give the same bytes, and the colours follow the reader's light or dark theme.

matplotlib draws with placeholder colours, which are then replaced by CSS variables; a file on its own brings their
values along, and report.html sets the same ones.
"""

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from whether.metrics.catalogue import catalogue
from whether.metrics.format import format_percent, format_usd
from whether.printing.pictures import plain
from whether.records import Measurement, Robustness, Verdict
from whether.report.cost_plots import plot_cost_drivers, plot_cost_volume, shown_break_even
from whether.report.curve_plots import plot_learning_curve
from whether.report.data import ReportData
from whether.report.formats import plot_formats

STYLE = (Path(__file__).with_name("colours.css")).read_text(encoding="utf-8")
"""The colours as CSS variables, for light and dark."""

PLACEHOLDERS = {
    "ink": "#010203", "muted": "#040506", "line": "#070809", "prompt": "#0a0b0c", "fine_tune": "#0d0e0f",
    "both": "#101112", "neither": "#161718", "surface": "#131415",
}  # fmt: skip
MARKERS = {"prompt": "o", "fine_tune": "s", "both": "D", "neither": "^"}
_WIDTH = 4.4
"""Inches. Small, so that text stays readable when the picture fills a phone's width."""
_MOST_LABELS = 24
"""A confusion matrix with more labels cannot be read; its place is outputs.jsonl."""


def plot_all(data: ReportData) -> dict[str, str]:
    """Return every picture that this verdict has, by name, as SVG text."""
    verdict = data.verdict
    pictures = {"quality": render_svg("quality", _quality, verdict)}
    # Their axes are logarithmic, and a price list may say that machines are free.
    costly = all(arm.metrics["usd_per_1k"].value for arm in verdict.arms.values())
    if costly:
        pictures["quality_cost"] = render_svg("quality_cost", _quality_cost, verdict)
    if verdict.break_even and costly:
        pictures["cost_volume"] = render_svg("cost_volume", plot_cost_volume, verdict, PLACEHOLDERS)
        row = shown_break_even(verdict)
        kind = verdict.arms[row.arm].answer
        pictures["cost_drivers"] = render_svg("cost_drivers", plot_cost_drivers, row, PLACEHOLDERS, kind)
    if verdict.learning_curve and verdict.learning_curve.levels:
        pictures["learning_curve"] = render_svg(
            "learning_curve",
            plot_learning_curve,
            verdict.learning_curve,
            catalogue(verdict)[verdict.learning_curve.metric].label,
            PLACEHOLDERS,
        )
    if 0 < len(data.task.labels) <= _MOST_LABELS:
        for arm in verdict.representatives.values():
            pictures[f"confusion_{arm}"] = render_svg(f"confusion_{arm}", _confusion, data, arm)
    if any(one.formats for one in data.robustness.values()):
        pictures["formats"] = render_svg("formats", _formats, verdict, data.robustness)
    for name, history in data.history.items():
        pictures[f"training_{name}"] = render_svg(f"training_{name}", _training, history)
    return pictures


def _quality(axes: Any, verdict: Verdict) -> None:
    """Draw a forest plot: an arm a line, point and interval, best on top; the constant answer as a dotted line."""
    names = verdict.ranking()[::-1]
    chosen = set(verdict.representatives.values())
    for place, name in enumerate(names):
        arm = verdict.arms[name]
        row, colour = arm.metrics[verdict.metric], PLACEHOLDERS[arm.answer]
        _interval(axes, row, place, colour)
        face = colour if name in chosen else PLACEHOLDERS["surface"]
        axes.plot(row.value, place, MARKERS[arm.answer], color=colour, markerfacecolor=face, markersize=6)
    _baseline(verdict, axes.axvline)
    values = [format_percent(verdict.arms[name].metrics[verdict.metric].value or 0.0) for name in names]
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(names)), values)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    axes.set_yticks(range(len(names)), names)
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.6, len(names) - 0.4),
        xlabel=f"{_label(verdict)} on test",
    )
    axes.xaxis.set_major_formatter(lambda tick, _: f"{100 * tick:.0f}%")
    axes.tick_params(axis="y", length=0)
    axes.figure.set_size_inches(_WIDTH, 0.9 + 0.3 * len(names))


def _formats(axes: Any, verdict: Verdict, formats: dict[str, Robustness]) -> None:
    """Draw the score of each arm in other formats of its prompt."""
    colours = {name: PLACEHOLDERS[verdict.arms[name].answer] for name in formats}
    plot_formats(axes, formats, colours, PLACEHOLDERS["line"])
    axes.figure.set_size_inches(_WIDTH, 0.9 + 0.3 * len(formats))


def _quality_cost(axes: Any, verdict: Verdict) -> None:
    """Draw quality with its interval against the running cost; the recommended arm is ringed."""
    for name in verdict.ranking():
        arm = verdict.arms[name]
        row, colour = arm.metrics[verdict.metric], PLACEHOLDERS[arm.answer]
        price = arm.metrics["usd_per_1k"].value
        axes.plot([price, price], [row.ci_low, row.ci_high], color=colour, linewidth=1.6)
        axes.plot(price, row.value, MARKERS[arm.answer], color=colour, markersize=6)
        if name == verdict.recommended_arm:
            axes.plot(price, row.value, "o", markersize=14, markerfacecolor="none", color=PLACEHOLDERS["ink"])
    _baseline(verdict, axes.axhline)
    axes.set_xscale("log")
    prices = [arm.metrics["usd_per_1k"].value or 0.0 for arm in verdict.arms.values()]
    axes.set(xlim=(min(prices) / 1.3, max(prices) * 1.3), ylim=(-0.04, 1.06))
    _label_points(axes, verdict)
    axes.set(xlabel="running cost of 1,000 requests", ylabel=f"{_label(verdict)} on test")
    axes.yaxis.set_major_formatter(lambda tick, _: f"{100 * tick:.0f}%")
    decades = range(math.floor(math.log10(min(prices))) - 1, math.ceil(math.log10(max(prices))) + 1)
    steps = (1, 2, 5) if max(prices) < 30 * min(prices) else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    axes.set_xticks(ticks, [format_usd(tick) for tick in ticks])
    axes.set_xlim(min(prices) / 1.3, max(prices) * 1.3)
    axes.set_xticks([], minor=True)
    axes.figure.set_size_inches(_WIDTH, 3.2)


def _label_points(axes: Any, verdict: Verdict) -> None:
    """Write each arm's name next to its point, at the first place that is clear of points and other names."""
    low, high = np.log(axes.get_xlim())
    rows = {name: arm.metrics for name, arm in verdict.arms.items()}
    points = {
        name: (float((np.log(row["usd_per_1k"].value or 0.0) - low) / (high - low)), row[verdict.metric].value or 0.0)
        for name, row in rows.items()
    }
    boxes = [(x - 0.02, x + 0.02, y - 0.03, y + 0.03) for x, y in points.values()]
    for name in verdict.ranking():
        (x, y), width = points[name], 0.0255 * len(name)
        for side, rise in ((side, rise) for rise in (0, -0.07, 0.07, -0.14, 0.14, -0.21) for side in (1, -1)):
            left = x + 0.03 if side > 0 else x - 0.03 - width
            box = (left, left + width, y + rise - 0.03, y + rise + 0.03)
            inside = box[0] > 0 and box[1] < 1.05 and -0.02 < y + rise < 1.03
            if inside and not any(_overlap(box, other) for other in boxes):
                boxes.append(box)
                axes.text(left, y + rise, name, va="center", fontsize=8.5, transform=axes.get_yaxis_transform())
                break


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def confusion(data: ReportData, arm: str) -> Any:
    """Return counts of test examples, (labels, labels + 1): right label by row, answered by column, the last: none."""
    from sklearn.metrics import confusion_matrix

    labels, invalid = data.task.labels, ""
    targets = [row.target for row in data.outputs]
    answers = [row.arms[arm].answer or invalid for row in data.outputs]
    return confusion_matrix(targets, answers, labels=[*labels, invalid])[:-1]


def _confusion(axes: Any, data: ReportData, arm: str) -> None:
    """Draw the right label by row and the answered one by column, shaded by the share of the row."""
    counts, labels = confusion(data, arm), data.task.labels
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            kind = "fine_tune" if row == column else "both"
            box = {"facecolor": PLACEHOLDERS[kind], "alpha": 0.12 + 0.6 * shares[row, column], "linewidth": 0}
            axes.add_patch(_grid_shape(column - 0.47, row - 0.47, **box))
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8)
    columns = [str(number + 1) for number in range(len(labels))] + ["–"]
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(labels)), [f"{plain(label)}  {number + 1}" for number, label in enumerate(labels)])
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(labels) - 0.5, -0.5), xlabel="answered label")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.figure.set_size_inches(_WIDTH, 0.9 + 0.28 * len(labels))


def _grid_shape(x: float, y: float, **options: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), 0.94, 0.94, **options)


def _training(axes: Any, history: list[dict[str, Any]]) -> None:
    """Draw the loss on training batches and on dev."""
    train = [(row["step"], row["loss"]) for row in history if "loss" in row]
    dev = [(row["step"], row["dev_loss"]) for row in history if "dev_loss" in row]
    axes.plot(*zip(*train, strict=True), color=PLACEHOLDERS["muted"], linewidth=1.1, label="training batches")
    if dev:
        axes.plot(*zip(*dev, strict=True), "s-", color=PLACEHOLDERS["fine_tune"], markersize=4, label="dev")
    axes.set(xlabel="optimizer step", ylabel="loss per answer token (nats)", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.legend(frameon=False, labelcolor=PLACEHOLDERS["ink"])
    axes.figure.set_size_inches(_WIDTH, 2.8)


def _interval(axes: Any, row: Measurement, place: float, colour: str) -> None:
    if row.ci_low is not None:
        axes.plot([row.ci_low, row.ci_high], [place, place], color=colour, linewidth=1.6)


def _baseline(verdict: Verdict, line: Callable[..., Any]) -> None:
    """Mark what always giving the most frequent answer would score."""
    if verdict.baseline is not None and catalogue(verdict)[verdict.metric].unit == "fraction":
        line(verdict.baseline, color=PLACEHOLDERS["muted"], linestyle=":", linewidth=1)


def render_svg(name: str, painter: Callable[..., None], *arguments: Any) -> str:
    """Let a painter draw on axes and return the SVG text with theme colours."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ink, line = PLACEHOLDERS["ink"], PLACEHOLDERS["line"]
    settings = {
        "svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.5,
        "font.sans-serif": ["DejaVu Sans"], "axes.edgecolor": line, "axes.labelcolor": ink, "text.color": ink,
        "xtick.color": line, "ytick.color": line, "xtick.labelcolor": ink, "ytick.labelcolor": ink, "grid.color": line,
        "grid.linewidth": 0.5, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "axes.axisbelow": True, "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    }  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=(_WIDTH, 3), layout="constrained")
        painter(figure.subplots(), *arguments)
        text = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", metadata=nothing)
    return _css_colours(text.getvalue())


def _label(verdict: Verdict) -> str:
    return plain(catalogue(verdict)[verdict.metric].label)


def _css_colours(svg: str) -> str:
    """Replace placeholders by CSS variables, and drop what clashes when several pictures stand on one page."""
    for name, placeholder in PLACEHOLDERS.items():
        svg = svg.replace(placeholder, f"var(--{name})")
    svg = re.sub(r"font: ([\d.]+px) 'DejaVu Sans'[^;\"]*", r"font: \1 system-ui, 'DejaVu Sans', sans-serif", svg)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return svg[svg.index("<svg") :].replace("<svg", '<svg stroke-linejoin="round"', 1)


def with_style(svg: str) -> str:
    """Return a picture as a file of its own, with the colours of both themes."""
    end = svg.index(">") + 1
    return f"{svg[:end]}\n<style>{STYLE}</style>{svg[end:]}"
