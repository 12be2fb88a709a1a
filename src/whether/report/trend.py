"""Verdicts over time: a table, and a page with a picture of every arm's quality and what changed each time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from whether.metrics.catalogue import catalogue
from whether.metrics.format import format_bounds, format_number, format_points, format_signed, format_value
from whether.printing.pictures import plain
from whether.records import HEADLINES, Changes, Verdict, write_text
from whether.report.plots import MARKERS, PLACEHOLDERS, STYLE, render_svg

COLUMNS = ("date", "commit", "verdict", "arm", "quality", "interval", "USD a month")
_MOST_LINES = 8
"""Arms in the picture: those that were recommended, and the best of the last verdict."""


_NAME_HEIGHT = 0.055
"""Of a line of text, as a share of the quality axis."""


class TrendRow(NamedTuple):
    """A verdict and when it was."""

    commit: str
    date: str
    """YYYY-MM-DD."""
    verdict: Verdict
    changes: Changes | None = None
    """Since the verdict before it."""


def trend_rows(points: Sequence[TrendRow]) -> list[list[str]]:
    """Return a line for each verdict: what was recommended, and its primary metric on test."""
    rows = []
    for point in points:
        verdict = point.verdict
        arm = verdict.arms.get(verdict.recommended_arm or "")
        cells = ["", "", ""]
        if arm is not None:
            quality, info = arm.metrics[verdict.metric], catalogue(verdict)[verdict.metric]
            cells = [
                format_number(info, quality.value),
                format_bounds(info, quality),
                format_value("usd_per_month", arm.metrics["usd_per_month"].value),
            ]
        rows.append([point.date, point.commit, verdict.answer, verdict.recommended_arm or "", *cells])
    return rows


def write_trend(points: Sequence[TrendRow], file: Path) -> None:
    """Write the page of verdicts, newest first, as one file with everything in it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = Path(__file__).parent
    loader = FileSystemLoader(folder)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    tasks = sorted({point.verdict.task for point in points})
    text = environment.get_template("trend.html.j2").render(
        points=list(zip(points, trend_rows(points), strict=True)),
        last=points[0],
        tasks=tasks,
        headlines=HEADLINES,
        metric=_label(points[0].verdict),
        css=Markup(STYLE + (folder / "report.css").read_text("utf-8")),  # noqa: S704 - our own
        picture=Markup(render_svg("trend", _paint, points[::-1])),  # noqa: S704 - drawn by us, texts escaped by matplotlib
        signed=format_signed,
        points_of=format_points,
    )
    write_text(file, text)


def _paint(axes: Any, points: Sequence[TrendRow]) -> None:
    """Draw each arm's quality with its interval, verdict by verdict, oldest first; the recommended one is ringed."""
    metric = points[-1].verdict.metric
    names, ends = _shown(points), dict[str, tuple[float, float]]()
    for number, name in enumerate(names):
        found = [
            (place, point.verdict.arms[name])
            for place, point in enumerate(points)
            if name in point.verdict.arms and metric in point.verdict.arms[name].metrics
        ]
        kind = found[-1][1].answer
        colour, shift = PLACEHOLDERS[kind], 0.16 * (number - (len(names) - 1) / 2) / max(1, len(names) / 3)
        places = [place + shift for place, _ in found]
        rows = [arm.metrics[metric] for _, arm in found]
        axes.plot(places, [row.value for row in rows], MARKERS[kind] + "-", color=colour, markersize=5, linewidth=1)
        for place, row in zip(places, rows, strict=True):
            if row.ci_low is not None:
                axes.plot([place, place], [row.ci_low, row.ci_high], color=colour, linewidth=1.4)
        for place, (at, _), row in zip(places, found, rows, strict=True):
            if points[at].verdict.recommended_arm == name:
                axes.plot(place, row.value, "o", markersize=12, markerfacecolor="none", color=PLACEHOLDERS["ink"])
        ends[name] = places[-1], rows[-1].value or 0.0
    _name_lines(axes, ends)
    axes.set_xticks(range(len(points)), [f"{point.date[5:]}\n{point.commit[:7]}" for point in points], fontsize=7.5)
    axes.set(xlim=(-0.5, len(points) - 0.5), ylim=(-0.02, 1.04), ylabel=f"{plain(_label(points[-1].verdict))} on test")
    axes.yaxis.set_major_formatter(lambda tick, _: f"{100 * tick:.0f}%")
    axes.figure.set_size_inches(max(4.4, 1.6 + 0.75 * len(points)), 3.6)


def _label(verdict: Verdict) -> str:
    return catalogue(verdict)[verdict.metric].label


def _name_lines(axes: Any, ends: dict[str, tuple[float, float]]) -> None:
    """Write each line's name to the right of its end, moved up or down so far that names do not cover each other."""
    place = max(end for end, _ in ends.values()) + 0.15
    height = -1.0
    for name, (end, quality) in sorted(ends.items(), key=lambda item: item[1][1]):
        height = max(quality, height + _NAME_HEIGHT)
        axes.plot([end + 0.06, place], [quality, height], color=PLACEHOLDERS["muted"], linewidth=0.6, clip_on=False)
        axes.text(place + 0.03, height, name, va="center", fontsize=8, color=PLACEHOLDERS["ink"], clip_on=False)


def _shown(points: Sequence[TrendRow]) -> list[str]:
    """Return the arms to draw: those that were recommended, and the best of the last verdict, as far as they go."""
    last = points[-1].verdict
    best = sorted(last.arms, key=lambda name: -(last.arms[name].metrics[last.metric].value or 0.0))
    recommended = [point.verdict.recommended_arm for point in reversed(points) if point.verdict.recommended_arm]
    return list(dict.fromkeys([*recommended, *last.representatives.values(), *best]))[:_MOST_LINES]
