"""What other formats, samples and invalid outputs show about the arms, as the report shows it."""

from typing import Any

from whether.metrics.format import format_percent
from whether.records import LENIENCIES, Adherence, Robustness, Verdict


def plot_formats(axes: Any, arms: dict[str, Robustness], colours: dict[str, str], line: str) -> None:
    """Draw an arm a line: a stroke for each format, from the worst to the best, and a point for the arm's own."""
    names = list(arms)[::-1]
    for place, name in enumerate(names):
        scores = [one.score for one in arms[name].formats.values()]
        if scores:
            axes.plot([min(scores), max(scores)], [place, place], color=line, linewidth=5, solid_capstyle="round")
            axes.plot(scores, [place] * len(scores), "|", color=colours[name], markersize=9, markeredgewidth=1)
        axes.plot(arms[name].score, place, "o", color=colours[name], markersize=6)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(names) - 0.4), xlabel="score on a part of dev")
    axes.xaxis.set_major_formatter(lambda tick, _: f"{100 * tick:.0f}%")
    axes.tick_params(axis="y", length=0)


def format_table(arms: dict[str, Robustness]) -> dict[str, Any]:
    """Return the score of each arm in each format: columns (arms) and rows (formats), the own one first."""
    formats = list(dict.fromkeys(name for one in arms.values() for name in one.formats))
    rows = [{"name": "its own", "cells": [format_percent(one.score) for one in arms.values()]}]
    for name in formats:
        found = [one.formats.get(name) for one in arms.values()]
        cells = ["" if score is None else format_percent(score.score) for score in found]
        rows.append({"name": name.replace("_", " "), "cells": cells})
    return {"columns": list(arms), "rows": rows}


def violations(arms: dict[str, Adherence]) -> list[dict[str, Any]]:
    """Return how outputs broke the form that was asked for: arm, kind, share and the first outputs."""
    return [
        {
            "arm": name,
            "kind": one.kind,
            "count": one.count,
            "share": format_percent(one.count / found.n),
            "outputs": one.outputs[:2],
        }
        for name, found in arms.items()
        for one in found.violations
    ]


def leniencies(verdict: Verdict) -> dict[str, Any] | None:
    """Return how often the answers of each arm needed which leniency: columns (arms) and rows; None: none did."""
    shares = {name: verdict.arms[name].leniencies for name in verdict.ranking() if verdict.arms[name].leniencies}
    needed = [name for name in LENIENCIES if any(name in found for found in shares.values())]
    rows = [
        {
            "name": LENIENCIES[name],
            "cells": [format_percent(found[name]) if name in found else "" for found in shares.values()],
        }
        for name in needed
    ]
    return {"columns": list(shares), "rows": rows} if rows else None
