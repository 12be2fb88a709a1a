"""git, of this folder's repository."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from whether.errors import RecordError

BEGIN = "git init && git add --all && git commit -m begin"
"""What makes a repository of a folder, such as an unpacked ZIP."""


def git(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Return what a git command prints. Raises RecordError with what git says where it fails or cannot be run."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, env=os.environ | (environment or {})
        )
    except OSError as error:
        raise RecordError(f"git cannot be run: {error}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = said[-1] if said else "it says nothing"
        if "not a git repository" in reason:
            reason = f"{Path.cwd()} is not a git repository: `{BEGIN}` makes it one"
        raise RecordError(f"git {arguments[0]} failed: {reason}")
    return done.stdout.strip()


def try_git(*arguments: str) -> str | None:
    """Return what a git command prints; None where it fails or there is no git."""
    try:
        return git(*arguments)
    except RecordError:
        return None


def blob_id(text: str) -> str:
    """Return the id by which git knows a file of this content."""
    content = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def blob(name: str) -> str | None:
    """Return the content of that id; None where the repository does not have it, as in a shallow clone."""
    done = subprocess.run(["git", "cat-file", "blob", name], capture_output=True, encoding="utf-8", check=False)
    return None if done.returncode else done.stdout


def merge_texts(current: str, base: str, other: str) -> str | None:
    """Return `current` with the changes that lead from `base` to `other`; None where both changed the same lines."""
    with tempfile.TemporaryDirectory() as folder:
        texts = {"current": current, "base": base, "other": other}
        for name, text in texts.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        words = ["git", "merge-file", "--stdout", "--quiet", *texts]
        done = subprocess.run(words, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    return None if done.returncode else done.stdout
