"""The retraining runs as a page: the champion, the picture of quality and triggers, what each run found and did."""

from collections.abc import Sequence
from pathlib import Path

from whether import report
from whether.intake.describe import describe_intake
from whether.metrics.format import format_percent
from whether.records import Champion, MeanScore, RetrainingRun, write_text
from whether.tracking.retraining import OUTCOME_VERBS

SHOWN = 200
"""Runs in the table: the last ones."""


def write_page(runs: Sequence[RetrainingRun], champion: Champion | None, picture: str, file: Path) -> None:
    """Write the page, one file with everything in it; `picture` is SVG."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    styles = Path(report.__file__).parent
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["score"] = _score
    text = environment.get_template(
        "page.html.j2"
    ).render(
        runs=list(runs)[: -SHOWN - 1 : -1],
        count=len(runs),
        last=runs[-1],
        champion=champion,
        verbs=OUTCOME_VERBS,
        describe_intake=describe_intake,
        css=Markup((styles / "colours.css").read_text("utf-8") + (styles / "report.css").read_text("utf-8")),  # noqa: S704 - our own
        picture=Markup(picture[picture.index("<svg") :]),  # noqa: S704 - drawn by us, its texts escaped by matplotlib
    )
    write_text(file, text)


def _score(score: MeanScore | None) -> str:
    """Return a mean with its interval."""
    if score is None:
        return "–"
    low, high = format_percent(score.ci_low), format_percent(score.ci_high)
    return f"{format_percent(score.mean)} ({low} to {high}, {score.n} rows)"
