"""The verdict of the last `dvc repro`, or of an earlier one, and what changed since.

    python -m pipelines.verdict                    in the terminal
    python -m pipelines.verdict --json             for scripts: verdict.json, and `changes` with --against
    python -m pipelines.verdict --markdown         for a pull request
    python -m pipelines.verdict --rev v1.2         of a git revision, from DVC's cache
    python -m pipelines.verdict --against main     and what changed since
    python -m pipelines.verdict --history 20       of the last 20 commits that changed dvc.lock, newest first
    python -m pipelines.verdict --history 20 --page trend.html     with a picture, and what each commit changed

--rev and --against take a git revision, `runs:/<id>` of a pipeline run in MLflow, or a folder like artifacts/compare.
A revision's files come from DVC's cache; if they are not there, `dvc fetch --all-commits artifacts/compare` gets them
from the remote.
"""

import argparse
import json
import tempfile
from itertools import pairwise, zip_longest
from pathlib import Path

from whether import entry
from whether.compare.changes import changes, read_result
from whether.config import Config, TrackingConfig, load
from whether.records import Changes, Verdict, read_json, to_builtins
from whether.report.markdown import summary, table
from whether.report.terminal import print_changes, print_table, print_verdict
from whether.report.trend import COLUMNS, TrendRow, trend_rows, write_trend
from whether.repository.revisions import COMPARE, RESULT, at_revision, verdict_history
from whether.stats.intervals import InferenceSettings
from whether.tracking.connection import download

RUN = "runs:/"


def main(argv: list[str]) -> None:
    """Read one verdict or two and show them."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.verdict", description="Show the verdict.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object")
    form.add_argument("--markdown", action="store_true", help="Markdown for a pull request")
    form.add_argument("--page", type=Path, metavar="FILE", help="with --history: an HTML page with a picture")
    parser.add_argument("--rev", help="the verdict of this git revision, runs:/<id> or folder")
    parser.add_argument("--against", help="what changed since: a git revision, runs:/<id>, or a folder")
    parser.add_argument("--history", type=int, metavar="N", help="the verdicts of the last N commits that have one")
    given = parser.parse_args(argv)
    if given.history is not None and (given.history < 1 or given.rev or given.against):
        parser.error("--history takes a number from 1 on, and neither --rev nor --against")
    if given.page and given.history is None:
        parser.error("--page goes with --history; the report of one verdict is artifacts/report/report.html")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if given.history is not None:
            show_history(given, scratch)
            return
        folder = earlier(given.rev, scratch / "now", load().tracking) if given.rev else COMPARE
        verdict = read_json(folder / "verdict.json", Verdict)
        changed = since(given.against, folder, scratch / "then") if given.against else None
    if given.json:
        print(json.dumps(to_builtins(verdict) | ({"changes": to_builtins(changed)} if changed else {}), indent=2))
    elif given.markdown:
        print(summary(verdict, changed), end="")
    else:
        print_verdict(verdict)
        if changed:
            print_changes(changed)


def show_history(given: argparse.Namespace, scratch: Path) -> None:
    """Show verdicts over time: as JSON, as a table or as a page."""
    past = verdict_history(given.history, scratch)
    points = [TrendRow(row.commit, row.date, row.verdict) for row in past]
    if given.json:
        rows = [{"commit": row.commit, "date": row.date, **to_builtins(row.verdict)} for row in points]
        print(json.dumps(rows, indent=2))
    elif given.page:
        config = load()
        changed = [between(old.folder, new.folder, config) for new, old in pairwise(past)]
        write_trend([one._replace(changes=found) for one, found in zip_longest(points, changed)], given.page)
        print(f"written to {given.page}")
    elif given.markdown:
        print(table(COLUMNS, trend_rows(points), left=4))
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
    return changes(read_result(then), read_result(now), config.policy, settings)


if __name__ == "__main__":
    entry.run(main)
