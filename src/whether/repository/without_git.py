"""DVC in a folder that is not a git repository, such as the unpacked ZIP of one.

DVC refuses to work there unless `core.no_scm` says so. It is set in .dvc/config.local, which no commit holds, and taken
back as soon as the folder is a git repository.
"""

import logging
import subprocess
import sys
from pathlib import Path

from whether.errors import RecordError
from whether.records import STATE, write_text
from whether.repository.git import try_git

logger = logging.getLogger(__name__)

_SETTINGS = (Path(".dvc/config"), Path(".dvc/config.local"))
_OURS = STATE / "dvc_without_git"
"""Is there where the setting is ours: one that somebody made stays."""


def let_dvc_work() -> None:
    """Tell DVC whether this folder has git, where that has changed, and say so. Raises RecordError."""
    if not Path(".dvc").is_dir():
        return
    has_git = try_git("rev-parse", "--is-inside-work-tree") == "true"
    if has_git and _OURS.exists():
        _dvc_config("--unset", "core.no_scm")
        _OURS.unlink()
        logger.info("this folder is a git repository now, and DVC is told so")
    elif not has_git and not any(file.exists() and "no_scm" in file.read_text("utf-8") for file in _SETTINGS):
        _dvc_config("core.no_scm", "true")
        write_text(_OURS, "")
        logger.info(
            "this folder is not a git repository, as an unpacked ZIP: DVC runs without one (core.no_scm in"
            " .dvc/config.local). Records then name no commit, and retraining makes none: `git init` changes that"
        )


def _dvc_config(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "config", "--local", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and "--unset" not in words:  # what is to be unset may be gone already
        raise RecordError(f"DVC does not take a setting: {done.stderr.strip()[-300:]}; run `git init` here instead")
