"""data/ and everything else that a run reads from outside: fetched before the first stage, checked, never re-hashed.

data.dvc says what data/ must be. DVC itself, on `dvc repro`, takes whatever is in data/ and writes its hash into
data.dvc; `ensure` (called by `whether run` and `whether fetch`) refuses before that can happen, and
`tracked.refuse_rehashed` (called by the stages that read data/) refuses after it did.
"""

import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from whether.config import Config
from whether.errors import RecordError, SourceError
from whether.records import ARTIFACTS, DATA, read_json
from whether.repository.tracked import DATA_DVC, changed_files, require_committed_data
from whether.sources.bigbench import build_data
from whether.sources.hub import fetch_rows
from whether.sources.models import prefetch
from whether.sources.tables import require_file

logger = logging.getLogger(__name__)


def fetch_all(config: Config) -> None:
    """Make sure that all a run needs from outside is on this machine and is what was pinned.

    Raises SourceError where data/ differs from data.dvc (naming the files), something cannot be had, or what came is
    not what was pinned, and DataError where the task's file is missing; data.dvc is never written.
    """
    require_committed_data()
    if not DATA.exists():
        _build_data(config)
    different = changed_files()
    if different:
        shown = ", ".join(different[:5]) + (f" and {len(different) - 5} more" if len(different) > 5 else "")
        raise SourceError(
            f"data/ is not what data.dvc says; changed: {shown}. If you meant it: `dvc add data` and"
            " `git add data.dvc`. If not: remove data/ and run `whether fetch`"
        )
    if config.task.source.hub:
        fetch_rows(config.task.source)
    require_file(Path(config.task.source.path))  # DVC would only say that a dependency is missing
    if not _model_is_made(config):
        prefetch(config.model.source)


def _model_is_made(config: Config) -> bool:
    """Whether artifacts/model is the selected one, so that its stage has nothing to fetch."""
    try:
        made: dict[str, Any] = read_json(ARTIFACTS / "model" / "source.json")
    except RecordError:
        return False
    return made.get("source") == config.model.source


def _build_data(config: Config) -> None:
    """Take data/ from DVC's cache, else build it from its package and, if it is right, put it into the cache."""
    if DATA_DVC.exists() and _dvc("checkout").returncode == 0:
        return
    shutil.rmtree(DATA, ignore_errors=True)  # what a checkout that failed half-way left
    package = f"{config.data.package}=={config.data.version}"
    logger.info("data/ is missing: making it from %s (%s)", package, config.data.licence)
    build_data(config.data, DATA)
    # Without -f and with nobody to say yes, `dvc commit` refuses where the hash differs: `ensure` then says so.
    if DATA_DVC.exists():
        _dvc("commit")


def _dvc(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", command, "--quiet", str(DATA_DVC)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
