"""git, of this folder's repository."""

import os
import subprocess
from collections.abc import Mapping

from whether.errors import RecordError


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
        raise RecordError(f"git {arguments[0]} failed: {said[-1] if said else 'it says nothing'}")
    return done.stdout.strip()


def try_git(*arguments: str) -> str | None:
    """Return what a git command prints; None where it fails or there is no git."""
    try:
        return git(*arguments)
    except RecordError:
        return None
