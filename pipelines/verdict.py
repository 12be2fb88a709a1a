"""The verdict of the last `dvc repro`, or of an earlier one, and what changed since.

    python -m pipelines.verdict                    in the terminal
    python -m pipelines.verdict --json             for scripts: verdict.json, and `changes` with --against
    python -m pipelines.verdict --markdown         for a pull request
    python -m pipelines.verdict --rev v1.2         of a git revision, from DVC's cache
    python -m pipelines.verdict --against main     and what changed since

--against takes a git revision, or a folder like artifacts/compare. A revision's files come from DVC's cache; if they
are not there, `dvc fetch --all-commits artifacts/compare` gets them from the remote.
"""

import argparse
import json
import tempfile
from pathlib import Path

from whether import entry
from whether.compare.summary import summary
from whether.compare.terminal import show, show_changes
from whether.config import load
from whether.errors import RecordError
from whether.records import ARTIFACTS, Changes, Verdict, read_json, to_plain

COMPARE = ARTIFACTS / "compare"


def main(argv: list[str]) -> None:
    """Read one verdict or two and show them."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.verdict", description="Show the verdict.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object")
    form.add_argument("--markdown", action="store_true", help="Markdown for a pull request")
    parser.add_argument("--rev", help="the verdict of this git revision")
    parser.add_argument("--against", help="what changed since: a git revision, or a folder like artifacts/compare")
    given = parser.parse_args(argv)
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


def since(earlier: str, now: Path, scratch: Path) -> Changes:
    """Return what changed since the verdict in a folder, or of a git revision, which is copied to `scratch`."""
    from whether.compare.changes import changes, read_result
    from whether.compare.inference import Inference

    then = Path(earlier) if (Path(earlier) / "verdict.json").is_file() else at_revision(earlier, scratch)
    config = load()
    settings = Inference(level=1 - config.policy.alpha, resamples=config.policy.resamples, seed=config.seed)
    return changes(read_result(then), read_result(now), config.policy, settings)


def at_revision(revision: str, folder: Path) -> Path:
    """Copy a git revision's verdict from DVC's cache to `folder`. Raises RecordError if it is not there."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    folder.mkdir()
    try:
        files = DVCFileSystem(url=".", rev=revision)
        for file in ("verdict.json", "outputs.jsonl"):
            files.get((COMPARE / file).as_posix(), str(folder / file))
    except (DvcException, SCMError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(
            f"{revision}: no verdict can be read ({reason}). Name a git revision whose verdict is in DVC's cache"
            f" (`dvc fetch --all-commits {COMPARE}` gets it from the remote), or a folder with verdict.json and"
            " outputs.jsonl"
        ) from error
    return folder


if __name__ == "__main__":
    entry.run(main)
