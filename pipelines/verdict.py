"""The verdict of the last `dvc repro`, or of an earlier one, and what changed since.

    python -m pipelines.verdict                    in the terminal
    python -m pipelines.verdict --json             for scripts: verdict.json, and `changes` with --against
    python -m pipelines.verdict --markdown         for a pull request
    python -m pipelines.verdict --rev v1.2         of a git revision, from DVC's cache
    python -m pipelines.verdict --against main     and what changed since
    python -m pipelines.verdict --history 20       of the last 20 commits that changed dvc.lock, newest first

--against takes a git revision, or a folder like artifacts/compare. A revision's files come from DVC's cache; if they
are not there, `dvc fetch --all-commits artifacts/compare` gets them from the remote.
"""

import argparse
import json
import logging
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from whether import entry
from whether.compare.summary import summary, table
from whether.compare.terminal import show, show_changes, show_table
from whether.compare.wording import interval, value
from whether.config import load
from whether.errors import RecordError
from whether.records import ARTIFACTS, Changes, Verdict, read_json, to_plain

COMPARE = ARTIFACTS / "compare"

logger = logging.getLogger("whether.verdict")


def main(argv: list[str]) -> None:
    """Read one verdict or two and show them."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.verdict", description="Show the verdict.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object")
    form.add_argument("--markdown", action="store_true", help="Markdown for a pull request")
    parser.add_argument("--rev", help="the verdict of this git revision")
    parser.add_argument("--against", help="what changed since: a git revision, or a folder like artifacts/compare")
    parser.add_argument("--history", type=int, metavar="N", help="the verdicts of the last N commits that have one")
    given = parser.parse_args(argv)
    if given.history is not None and (given.history < 1 or given.rev or given.against):
        parser.error("--history takes a number from 1 on, and neither --rev nor --against")
    if given.history is not None:
        print_history(past_verdicts(given.history), given)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = at_revision(given.rev, Path(name) / "now") if given.rev else COMPARE
        verdict = read_json(folder / "verdict.json", Verdict)
        changed = since(given.against, folder, Path(name) / "then") if given.against else None
    if given.json:
        print(json.dumps(to_plain(verdict) | ({"changes": to_plain(changed)} if changed else {}), indent=2))
    elif given.markdown:
        print(summary(verdict, changed), end="")
    else:
        show(verdict)
        if changed:
            show_changes(changed)


class Past(NamedTuple):
    """The verdict of a commit."""

    commit: str
    date: str
    """Of the commit, YYYY-MM-DD."""
    verdict: Verdict


def past_verdicts(most: int) -> list[Past]:
    """Return the verdicts of the last commits that changed dvc.lock, newest first; those that DVC's cache has."""
    command = ["git", "log", f"-{most}", "--format=%h %cs", "--", "dvc.lock"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RecordError(f"no history: git cannot be run ({error})") from error
    if listed.returncode != 0 or not listed.stdout.strip():
        raise RecordError("no history: no commit of this repository changed dvc.lock (`git commit` after `dvc repro`)")
    found: list[Past] = []
    lines = [line.split() for line in listed.stdout.splitlines()]
    with tempfile.TemporaryDirectory() as name:
        for commit, date in lines:
            try:
                folder = at_revision(commit, Path(name) / commit)
            except RecordError:
                continue
            found.append(Past(commit, date, read_json(folder / "verdict.json", Verdict)))
    missing = len(lines) - len(found)
    text = f"{missing} of {len(lines)} commits have no verdict in DVC's cache: `dvc fetch --all-commits {COMPARE}`"
    if not found:
        raise RecordError(text)
    if missing:
        logger.warning(text)
    return found


def print_history(past: list[Past], given: argparse.Namespace) -> None:
    """Print verdicts over time: as JSON, or as a table."""
    if given.json:
        rows = [{"commit": row.commit, "date": row.date, **to_plain(row.verdict)} for row in past]
        print(json.dumps(rows, indent=2))
    elif given.markdown:
        print(table(HISTORY, history_rows(past), left=4))
    else:
        show_table(HISTORY, history_rows(past), left=4)


HISTORY = ("date", "commit", "verdict", "arm", "quality", "interval", "USD a month")


def history_rows(past: list[Past]) -> list[list[str]]:
    """Return a line for each verdict: what was recommended, and its primary metric on test."""
    rows = []
    for commit, date, verdict in past:
        arm = verdict.arms.get(verdict.recommended_arm or "")
        cells = ["", "", ""]
        if arm is not None:
            quality = arm.metrics[verdict.metric]
            month = arm.metrics["usd_per_month"].value
            cells = [
                value(verdict.metric, quality.value),
                interval(verdict.metric, quality),
                value("usd_per_month", month),
            ]
        rows.append([date, commit, verdict.answer, verdict.recommended_arm or "", *cells])
    return rows


def since(earlier: str, now: Path, scratch: Path) -> Changes:
    """Return what changed since the verdict in a folder, or of a git revision, which is copied to `scratch`."""
    from whether.compare.changes import changes, read_result
    from whether.compare.intervals import Inference

    then = Path(earlier) if (Path(earlier) / "verdict.json").is_file() else at_revision(earlier, scratch)
    config = load()
    settings = Inference(level=1 - config.policy.alpha, resamples=config.policy.resamples, seed=config.seed)
    return changes(read_result(then), read_result(now), config.policy, settings)


def at_revision(revision: str, folder: Path) -> Path:
    """Copy a git revision's verdict from DVC's cache to `folder`. Raises RecordError if it is not there."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError
    from scmrepo.exceptions import SCMError

    folder.mkdir()
    try:
        files = DVCFileSystem(url=".", rev=revision)
        for file in ("verdict.json", "outputs.jsonl"):
            files.get((COMPARE / file).as_posix(), str(folder / file))
    except (DvcException, DataIndexDirError, SCMError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(
            f"{revision}: no verdict can be read ({reason}). Name a git revision whose verdict is in DVC's cache"
            f" (`dvc fetch --all-commits {COMPARE}` gets it from the remote), or a folder with verdict.json and"
            " outputs.jsonl"
        ) from error
    return folder


if __name__ == "__main__":
    entry.run(main)
