"""The retraining runs as a picture: the champion's quality on new rows, outcomes, and each trigger's evidence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whether.records import RetrainingRun

MARKS = {
    "promoted": ("^", "#2a7f3f"),
    "kept": ("x", "#b3261e"),
    "failed": ("s", "#b3261e"),
    "action_required": ("D", "#8a6d00"),
}
LOWEST, HIGHEST = 1e-3, 1e2
"""Range of evidence over threshold that is drawn; what is below or above is drawn at its ends."""
SHOWN = 60
"""Runs in the picture: the last ones."""


def plot_runs(runs: Sequence[RetrainingRun], file: Path, unchanged: Sequence[float | None] | None = None) -> None:
    """Write the picture of the last runs as SVG. `unchanged`: the first champion's score in each run."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    skipped = max(len(runs) - SHOWN, 0)
    with mpl.rc_context({"svg.hashsalt": "whether", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 6.4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _draw_quality(above, runs[skipped:], unchanged[skipped:] if unchanged else None)
        _draw_triggers(below, runs[skipped:])
        below.set_xlabel("retraining run")
        below.xaxis.get_major_locator().set_params(integer=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None})


def _draw_quality(axes: Any, runs: Sequence[RetrainingRun], unchanged: Sequence[float | None] | None) -> None:
    if unchanged is not None:
        points = [(run.number, score) for run, score in zip(runs, unchanged, strict=False) if score is not None]
        if points:
            axes.plot(*zip(*points, strict=True), color="#8c8c8c", linestyle="--", marker=".", label="never retrained")
    scored = [(run.number, run.champion_new) for run in runs if run.champion_new is not None]
    if scored:
        numbers, colour = [number for number, _ in scored], "#3b6fb6"
        bounds = [score.ci_low for _, score in scored], [score.ci_high for _, score in scored]
        axes.fill_between(numbers, *bounds, color=colour, alpha=0.15, linewidth=0)
        axes.plot(numbers, [score.mean for _, score in scored], color=colour, marker=".", label="champion of the time")
    for outcome, (mark, colour) in MARKS.items():
        found = [run for run in runs if run.outcome == outcome]
        heights = [run.champion_new.mean if run.champion_new else 1.0 for run in found]
        if found:
            label = {"action_required": "action required", "kept": "challenger refused"}.get(outcome, outcome)
            numbers = [run.number for run in found]
            axes.scatter(numbers, heights, marker=mark, color=colour, s=60, zorder=3, label=label)
    axes.set_ylim(-0.03, 1.05)
    axes.set_ylabel("score on the run's new rows")
    axes.set_title("The champion on rows it had not seen, and the outcome of each run")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", fontsize=8)
    axes.grid(alpha=0.25)


def _draw_triggers(axes: Any, runs: Sequence[RetrainingRun]) -> None:
    names = dict.fromkeys(found.trigger for run in runs for found in run.findings)
    drawn = False
    for name in names:
        points = [
            (run.number, min(max(found.statistic / found.threshold, LOWEST), HIGHEST))
            for run in runs
            for found in run.findings
            if found.trigger == name and found.statistic is not None and found.threshold
        ]
        if points and max(share for _, share in points) > LOWEST:
            axes.plot(*zip(*points, strict=True), marker=".", linewidth=1, label=name)
            drawn = True
    axes.axhline(1, color="#b3261e", linewidth=1)
    axes.set_yscale("log")
    axes.set_ylim(LOWEST / 1.6, HIGHEST * 1.6)
    axes.set_ylabel("evidence / threshold")
    axes.set_title("Triggers: a run on or above the line makes a challenger")
    if drawn:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    axes.grid(alpha=0.25)
