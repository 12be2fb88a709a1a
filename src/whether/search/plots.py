"""The picture of a search: the score by trial, and against each searched setting."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from whether.config import Categorical, Range
from whether.records import SearchRecord, TrialRecord, named_write_errors

_STYLES: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o"},
    "pruned": {"marker": "v", "alpha": 0.45},
    "diverged": {"marker": "x"},
}
_COLOURS = {"complete": "C0", "pruned": "C1", "diverged": "C3"}


def draw(
    record: SearchRecord, trials: Sequence[TrialRecord], parameters: Mapping[str, Range | Categorical], path: Path
) -> None:
    """Draw into an SVG file; the same trials give the same bytes. A trial that diverged has the lowest score."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    lowest = min((trial.value for trial in trials if trial.value is not None), default=0.0)
    panels = 1 + len(parameters)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "whether", "svg.fonttype": "none"}), named_write_errors(path):
        figure = Figure(figsize=(3.2 * panels, 3.4), layout="constrained")
        first, *others = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        _points(first, trials, [trial.number + 1 for trial in trials], lowest)
        _best_line(first, trials)
        first.xaxis.set_major_locator(MaxNLocator(integer=True))
        first.set(xlabel="trial", ylabel="dev: share answered exactly, less loss")
        first.legend(frameon=False, fontsize="small", loc="best")
        for axes, (name, parameter) in zip(others, parameters.items(), strict=True):
            _slice(axes, name, parameter, trials, lowest)
            share = record.importance.get(name)
            axes.set(xlabel=name, title="" if share is None else f"{share:.0%} of the differences")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _points(axes: Any, trials: Sequence[TrialRecord], positions: Sequence[float], lowest: float) -> None:
    for state, style in _STYLES.items():
        chosen = [(x, lowest if trial.value is None else trial.value)
                  for x, trial in zip(positions, trials, strict=True) if trial.state == state]  # fmt: skip
        if chosen:
            axes.scatter(*zip(*chosen, strict=True), s=22, label=state, color=_COLOURS[state], **style)


def _best_line(axes: Any, trials: Sequence[TrialRecord]) -> None:
    """Draw the best value of complete trials so far."""
    complete = [(trial.number + 1, trial.value or 0.0) for trial in trials if trial.state == "complete"]
    if complete:
        numbers, values = zip(*complete, strict=True)
        ends = [*numbers, trials[-1].number + 1]
        best = list(accumulate(values, max))
        axes.step(ends, [*best, best[-1]], where="post", linewidth=1, color="C2", label="best so far")


def _slice(axes: Any, name: str, parameter: Range | Categorical, trials: Sequence[TrialRecord], lowest: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    values = [trial.settings[name] for trial in trials]
    if isinstance(parameter, Categorical):
        places = {choice: float(index) for index, choice in enumerate(parameter.choices)}
        _points(axes, trials, [places[value] for value in values], lowest)
        axes.set_xticks(list(places.values()), [str(choice) for choice in places])
        return
    if parameter.log:
        axes.set_xscale("log")
        per_decade = (1, 2, 5) if parameter.high < 200 * parameter.low else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=per_decade))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    _points(axes, trials, values, lowest)
