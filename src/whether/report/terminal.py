"""The verdict in a terminal. Quick to import: it runs after every `whether run`, also when nothing had to be done."""

from collections.abc import Sequence
from itertools import zip_longest

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from whether.metrics.catalogue import METRICS, catalogue
from whether.metrics.format import format_bounds, format_number, format_points, format_signed, format_value
from whether.printing.terminal import printable
from whether.records import APPROACH_NAMES, HEADLINES, Changes, Verdict

_COLOURS = {"inconclusive": "yellow", "no_difference": "cyan"}
_CHANGES = {"better": "green", "worse": "red"}
_COLUMNS = ("valid_rate", "latency_p95", "usd_per_1k", "usd_to_build", "retention_change")


def print_verdict(verdict: Verdict, console: Console | None = None) -> None:
    """Print verdict, reasons and leaderboard; narrow terminals lose columns from the right, never the quality."""
    console = console or Console()
    colour = _COLOURS.get(verdict.answer, "green")
    console.print()
    console.print(Text(HEADLINES[verdict.answer], style=f"bold {colour}"))
    console.print(_text(f"task {verdict.title or verdict.task}, model {verdict.model}", "dim"))
    console.print()
    for reason in verdict.reasons:
        console.print(_item(reason))
    if verdict.further_labels:
        advice = f"label about {verdict.further_labels:,} more test examples"
        console.print(_item(advice, mark="→", style="bold"))
    if verdict.learning_curve:
        console.print(_item(f"Labels: {verdict.learning_curve.reasons[0]}"))
    console.print()
    console.print(_fitting_leaderboard(verdict, console))


def print_changes(changes: Changes, console: Console | None = None) -> None:
    """Print what changed since an earlier verdict."""
    console = console or Console()
    console.print()
    console.print(Text("Since the earlier verdict", style="bold"))
    console.print()
    for reason in changes.reasons:
        console.print(_item(reason))
    if not changes.arms:
        return
    rows, styles = [], []
    for row in changes.arms:
        interval = f"{format_signed(row.ci_low)} to {format_signed(row.ci_high)}"
        shown = row.conclusion.replace("_", " ")
        rows.append([row.arm, shown, format_points(row.difference), interval, f"{row.n:,}"])
        styles.append(_CHANGES.get(row.conclusion))
    console.print()
    heads = ("arm", "shown", "now minus then", "interval", "examples in both")
    print_table(heads, rows, left=2, styles=styles, console=console)


def _text(text: str, style: str = "") -> Text:
    """Return text that shows as it stands: rich reads "[bold]" in a plain string as markup."""
    return Text(printable(text), style)


def _item(text: str, *, mark: str = "•", style: str = "") -> Padding:
    """Return an item of a list, whose further lines begin under the first one's text."""
    item = Table.grid(padding=(0, 1))
    item.add_row(Text(mark, style), _text(text, style))
    return Padding(item, (0, 0, 0, 2), expand=False)


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int, styles: Sequence[str | None] = (),
    console: Console | None = None,
) -> None:  # fmt: skip
    """Print a table whose first `left` columns are aligned to the left."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, name in enumerate(heads):
        table.add_column(_text(name), justify="left" if place < left else "right", no_wrap=True)
    for cells, style in zip_longest(rows, styles):
        table.add_row(*map(_text, cells), style=style)
    (console or Console()).print(table)


def _fitting_leaderboard(verdict: Verdict, console: Console) -> Table:
    """Return the leaderboard with as many columns as the console shows in full."""
    unlimited = console.options.update(max_width=10_000)
    tables = [_leaderboard(verdict, _COLUMNS[:count]) for count in range(len(_COLUMNS), -1, -1)]
    return next(
        (table for table in tables if console.measure(table, options=unlimited).maximum <= console.width), tables[-1]
    )


def _leaderboard(verdict: Verdict, columns: Sequence[str]) -> Table:
    table, info = Table(box=None, pad_edge=False, header_style="dim"), catalogue(verdict)[verdict.metric]
    table.add_column("arm", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column(_text(info.label), justify="right", no_wrap=True)
    table.add_column("interval", justify="right", no_wrap=True)
    for metric in columns:
        table.add_column(METRICS[metric].label, justify="right", no_wrap=True)
    for name in verdict.ranking():
        arm = verdict.arms[name]
        quality = arm.metrics[verdict.metric]
        cells = [format_number(info, quality.value), format_bounds(info, quality)]
        cells += [format_value(metric, arm.metrics[metric].value) for metric in columns]
        chosen = name == verdict.recommended_arm
        label = _text(("▸ " if chosen else "  ") + name)
        table.add_row(label, APPROACH_NAMES[arm.answer], *map(_text, cells), style="bold" if chosen else None)
    return table
