"""Data that grew gets a new DVC version, and git knows of it: staged always, committed where the policy says so."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from whether.errors import RecordError, SourceError
from whether.records import COLLECTED
from whether.repository.dvc_files import mend_torn_files
from whether.repository.git import git, try_git
from whether.repository.tracked import DATA_DVC, changed_files
from whether.repository.without_git import let_dvc_work


def version_data() -> bool:
    """Give data/ a new version if collected rows changed it, and stage data.dvc; return whether it did.

    Raises SourceError where something else in data/ changed: nobody has confirmed that this was meant.
    """
    let_dvc_work()
    different = changed_files()
    strange = [file for file in different if not Path(file).is_relative_to(COLLECTED)]
    if strange:
        raise SourceError(
            f"data/ is not what data.dvc says, and not because of collected rows: {', '.join(strange[:5])}. If you"
            " meant it: `dvc add data` and `git add data.dvc`. If not: `dvc checkout data.dvc`"
        )
    if not different:
        if in_git():  # a run may have been killed between the two
            git("add", str(DATA_DVC))
        return False
    mend_torn_files()
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "commit", "--force", "--quiet", str(DATA_DVC)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RecordError(f"data/ gets no new version: `dvc commit data.dvc` says {done.stderr.strip()[-300:]}")
    if in_git():
        git("add", str(DATA_DVC))
    return True


def in_git() -> bool:
    """Return whether this is the work tree of a git repository."""
    return try_git("rev-parse", "--is-inside-work-tree") is not None


def commit(paths: Sequence[str], branch: str, message: str) -> str | None:
    """Commit files as they stand on disk to a branch and return the short hash; None if it has them already.

    `HEAD` is the branch that is checked out. Any other branch is written without touching the work tree or the index,
    and begins at HEAD where it is new. Raises RecordError with what git says.
    """
    current = try_git("symbolic-ref", "--short", "--quiet", "HEAD")
    there = [path for path in paths if Path(path).exists()]
    if branch in ("HEAD", current):
        git("add", "--", *there)
        if not git("diff", "--cached", "--name-only", "--", *there):
            return None
        git("commit", "--quiet", "--no-verify", "--only", "--message", message, "--", *there)
        return git("rev-parse", "--short", "HEAD")
    reference = f"refs/heads/{branch}"
    parent = try_git("rev-parse", "--verify", "--quiet", reference) or git("rev-parse", "HEAD")
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git("read-tree", parent, environment=index)
        git("add", "--", *there, environment=index)
        tree = git("write-tree", environment=index)
    if tree == git("rev-parse", f"{parent}^{{tree}}"):
        return None
    made = git("commit-tree", tree, "-p", parent, "-m", message)
    git("update-ref", reference, made)
    return made[:10]
