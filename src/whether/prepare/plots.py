"""The profile as pictures: label_balance.svg and token_lengths.svg, the same bytes for the same data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whether.printing.pictures import plain
from whether.records import Example, Split, Task

BARS = 30
"""Of a histogram, at most."""
COLOURS = ("#4c72b0", "#dd8452", "#55a868")


def draw_profile(
    folder: Path,
    task: Task,
    splits: dict[Split, list[Example]],
    profile: dict[str, Any],
    lengths: dict[str, tuple[int, int]],
) -> None:
    """Write the plots of a profile into a folder; label balance only for a task with labels."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Without these, ids in the file are random and its date is today's.
    with mpl.rc_context({"svg.hashsalt": "whether", "svg.fonttype": "none"}):
        if task.labels:
            figure = Figure(figsize=(7, 1.2 + 0.35 * len(task.labels)), layout="constrained")
            _draw_labels(figure, task, profile)
            figure.savefig(folder / "label_balance.svg", metadata={"Date": None})
        figure = Figure(figsize=(7, 2.8), layout="constrained")
        _draw_lengths(figure, splits, lengths)
        figure.savefig(folder / "token_lengths.svg", metadata={"Date": None})


def _draw_labels(figure: Any, task: Task, profile: dict[str, Any]) -> None:
    axes = figure.subplots()
    rows = range(len(task.labels))
    left = [0] * len(task.labels)
    for colour, (name, split) in zip(COLOURS, profile["splits"].items(), strict=True):
        counts = [split["labels"][label] for label in task.labels]
        axes.barh(rows, counts, left=left, color=colour, label=f"{name} ({split['examples']})")
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.set_yticks(rows, list(map(plain, task.labels)))
    axes.invert_yaxis()
    axes.set_xlabel("examples")
    axes.set_title(f"{plain(task.name)}: examples of each label")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _draw_lengths(figure: Any, splits: dict[Split, list[Example]], lengths: dict[str, tuple[int, int]]) -> None:
    panels: Sequence[Any] = figure.subplots(1, 2)
    for part, (axes, what) in enumerate(zip(panels, ("input", "target"), strict=True)):
        values = [[lengths[example.id][part] for example in examples] for examples in splits.values()]
        low, high = min(map(min, values)), max(map(max, values))
        width = (high - low) // BARS + 1
        edges = [edge - 0.5 for edge in range(low, high + width + 1, width)]  # whole numbers stand mid-bar
        axes.hist(values, bins=edges, stacked=True, color=COLOURS, label=list(splits))
        axes.set(xlabel=f"tokens of the {what}", ylabel="examples")
    panels[1].legend()
