"""`whether verdict`: the verdict of the last `dvc repro`, or of an earlier one, and what changed since.

An earlier one is a git revision, whose files come from DVC's cache (`dvc fetch --all-commits artifacts/compare` gets
them from the remote), `runs:/<id>` of a pipeline run in MLflow, or a folder like artifacts/compare.
"""

import json
import tempfile
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Literal

from whether.compare.changes import changes, read_result
from whether.config import Config, TrackingConfig, load
from whether.printing.terminal import say
from whether.records import Changes, Verdict, read_json, to_builtins
from whether.report.markdown import summary, table
from whether.report.terminal import print_changes, print_table, print_verdict
from whether.report.trend import COLUMNS, TrendRow, trend_rows, write_trend
from whether.repository.revisions import COMPARE, RESULT, at_revision, verdict_history
from whether.stats.intervals import InferenceSettings
from whether.tracking.connection import download

RUN = "runs:/"


Form = Literal["terminal", "json", "markdown"]


def show_verdict(form: Form, rev: str | None, against: str | None) -> None:
    """Show the verdict of the last run or of `rev`, and with `against` what changed since that one."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = earlier(rev, scratch / "now", load().tracking) if rev else COMPARE
        verdict = read_json(folder / "verdict.json", Verdict)
        changed = since(against, folder, scratch / "then") if against else None
    if form == "json":
        print(json.dumps(to_builtins(verdict) | ({"changes": to_builtins(changed)} if changed else {}), indent=2))
    elif form == "markdown":
        say(summary(verdict, changed), end="")
    else:
        print_verdict(verdict)
        if changed:
            print_changes(changed)


def show_history(form: Form, most: int, page: Path | None) -> None:
    """Show the verdicts of the last commits that have one, newest first; with `page` as an HTML page of that name."""
    with tempfile.TemporaryDirectory() as scratch:
        past = verdict_history(most, Path(scratch))
        points = [TrendRow(row.commit, row.date, row.verdict) for row in past]
        if page:
            config = load()
            changed = [between(old.folder, new.folder, config) for new, old in pairwise(past)]
            write_trend([one._replace(changes=found) for one, found in zip_longest(points, changed)], page)
            print(f"written to {page}")
        elif form == "json":
            rows = [{"commit": row.commit, "date": row.date, **to_builtins(row.verdict)} for row in points]
            print(json.dumps(rows, indent=2))
        elif form == "markdown":
            say(table(COLUMNS, trend_rows(points), left=4))
        else:
            print_table(COLUMNS, trend_rows(points), left=4)


def earlier(name: str, folder: Path, tracking: TrackingConfig) -> Path:
    """Return a folder with the files of `RESULT`: `name` itself if it is one, else copied to the new `folder`.

    `name` is such a folder, `runs:/<id>` of a pipeline run in MLflow, or a git revision. Raises RecordError or
    TrackingError if it is not there.
    """
    if (Path(name) / RESULT[0]).is_file():
        return Path(name)
    if not name.startswith(RUN):
        return at_revision(name, folder)
    folder.mkdir()
    return download(tracking.uri, Path.cwd(), name.removeprefix(RUN), RESULT, folder)


def since(name: str, now: Path, scratch: Path) -> Changes:
    """Return what changed since an earlier verdict, which is copied to `scratch` if it is not a folder."""
    config = load()
    return between(earlier(name, scratch, config.tracking), now, config)


def between(then: Path, now: Path, config: Config) -> Changes:
    """Return what changed between two folders like artifacts/compare."""
    settings = InferenceSettings(level=1 - config.policy.alpha, resamples=config.policy.resamples, seed=config.seed)
    return changes(read_result(then), read_result(now), config, settings)
