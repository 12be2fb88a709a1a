"""Earlier results: of a git revision, from DVC's cache, or of a pipeline run in MLflow. Nothing is checked out."""

import logging
from pathlib import Path
from typing import NamedTuple

from whether.config import PARAMS
from whether.errors import RecordError
from whether.records import ARTIFACTS, Verdict, read_json
from whether.repository.git import git

COMPARE = ARTIFACTS / "compare"
RESULT = ("verdict.json", "outputs.jsonl")
"""Files of `COMPARE` that show what an earlier verdict was, and of which answers."""
_NOT_A_RECORD = "model"
"""Folder of artifacts/ that no record is in."""

logger = logging.getLogger("whether.verdict")


class PastVerdict(NamedTuple):
    """The verdict of a commit."""

    commit: str
    date: str
    """Of the commit, YYYY-MM-DD."""
    verdict: Verdict
    folder: Path
    """With the files of `RESULT`."""


def at_revision(revision: str, folder: Path) -> Path:
    """Copy the files of `RESULT` of a git revision to the new `folder`. Raises RecordError if they are not there."""
    folder.mkdir()
    _copy(revision, {(COMPARE / file).as_posix(): folder / file for file in RESULT})
    return folder


def records_at_revision(revision: str, folder: Path) -> Path:
    """Copy params.yaml and artifacts/ of a git revision, the base model left out, to the new `folder`."""
    folder.mkdir()
    (folder / ARTIFACTS).mkdir()
    stages = [stage for stage in _stages(revision) if stage != _NOT_A_RECORD]
    copies = {(ARTIFACTS / stage).as_posix(): folder / ARTIFACTS / stage for stage in stages}
    _copy(revision, {PARAMS.as_posix(): folder / PARAMS, **copies})
    return folder


def verdict_history(most: int, scratch: Path) -> list[PastVerdict]:
    """Return the verdicts of the last commits that changed dvc.lock, newest first; those that DVC's cache has."""
    try:
        listed = git("log", f"-{most}", "--format=%h %cs", "--", "dvc.lock")
    except RecordError as error:
        raise RecordError(f"no history: {error}") from None
    if not listed:
        raise RecordError(
            "no history: no commit of this repository changed dvc.lock (`git commit` after `whether run`)"
        )
    found: list[PastVerdict] = []
    lines = [line.split() for line in listed.splitlines()]
    for commit, date in lines:
        try:
            folder = at_revision(commit, scratch / commit)
        except RecordError:
            continue
        found.append(PastVerdict(commit, date, read_json(folder / RESULT[0], Verdict), folder))
    missing = len(lines) - len(found)
    text = f"{missing} of {len(lines)} commits have no verdict in DVC's cache: `dvc fetch --all-commits {COMPARE}`"
    if not found:
        raise RecordError(text)
    if missing:
        logger.warning(text)
    return found


def _stages(revision: str) -> list[str]:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        return [Path(name).name for name in DVCFileSystem(url=".", rev=revision).ls(ARTIFACTS.as_posix(), detail=False)]
    except (DvcException, SCMError, OSError) as error:
        raise _unreadable(revision, error) from error


def _copy(revision: str, copies: dict[str, Path]) -> None:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError
    from scmrepo.exceptions import SCMError

    try:
        files = DVCFileSystem(url=".", rev=revision)
        for name, copy in copies.items():
            files.get(name, str(copy), recursive=files.isdir(name))
    except (DvcException, DataIndexDirError, SCMError, OSError) as error:
        raise _unreadable(revision, error) from error


def _unreadable(revision: str, error: Exception) -> RecordError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return RecordError(
        f"{revision}: no verdict can be read ({reason}). Name a git revision whose verdict is in DVC's cache (`dvc"
        f" fetch --all-commits {COMPARE}` gets it from the remote), runs:/<id> of a pipeline run in MLflow, or a"
        f" folder with {' and '.join(RESULT)}"
    )
