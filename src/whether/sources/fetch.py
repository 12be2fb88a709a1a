"""data/ and everything else that a run reads from outside: fetched before the first stage, checked, never re-hashed.

data.dvc says what data/ must be. DVC itself, on `dvc repro`, takes whatever is in data/ and writes its hash into
data.dvc; `ensure` (called by `whether run` and `whether fetch`) refuses before that can happen, and
`tracked.refuse_rehashed` (called by the stages that read data/) refuses after it did.
"""

import hashlib
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from whether.config import Component, Config
from whether.errors import RecordError, SourceError
from whether.records import ARTIFACTS, DATA, read_json
from whether.repository.dvc_files import mend_torn_files
from whether.repository.tracked import DATA_DVC, changed_files, require_committed_data
from whether.sources.bigbench import build_data
from whether.sources.hub import fetch_rows
from whether.sources.models import prefetch
from whether.sources.tables import require_file

logger = logging.getLogger(__name__)

QUICK_BYTES = 64 * 2**20
"""data/ up to this size is hashed here; above it DVC is asked, which remembers hashes."""


def fetch_all(config: Config) -> None:
    """Make sure that all a run needs from outside is on this machine and is what was pinned.

    Raises SourceError where data/ differs from data.dvc (naming the files), something cannot be had, or what came is
    not what was pinned, and DataError where the task's file is missing; data.dvc is never written.
    """
    require_committed_data()
    if not DATA.exists():
        _build_data(config)
    different = [] if _is_as_described() else changed_files()
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
        if "repo" in config.model.source:
            logger.info("fetching model %s ...", config.model.source["repo"])
        prefetch(config.model.source)
    for name in config.baseline_names:
        _prefetch_baseline(name, config.baselines[name].model)


def _prefetch_baseline(name: str, model: Component) -> None:
    """Download what a baseline is built from, unless it was fitted before."""
    if "source" not in model or (ARTIFACTS / "baseline" / "fitted" / name / "baseline.json").exists():
        return
    try:
        prefetch(model["source"])
    except SourceError as error:
        raise SourceError(f"baselines.{name}: {error}; or leave it out, as in baseline=[linear]") from error


def _is_as_described() -> bool:
    """Whether data/ has the hash that data.dvc says. False where DVC has to find out: it takes a second to load."""
    files = sorted(
        (file for file in DATA.rglob("*") if file.is_file()), key=lambda file: file.relative_to(DATA).as_posix()
    )
    if not DATA_DVC.exists() or sum(file.stat().st_size for file in files) > QUICK_BYTES:
        return False
    described = yaml.safe_load(DATA_DVC.read_text(encoding="utf-8"))
    listed = [{"md5": _md5(file), "relpath": file.relative_to(DATA).as_posix()} for file in files]
    # As DVC hashes a folder: MD5 of the list of its files in JSON.
    whole = hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return bool(described["outs"][0].get("md5") == f"{whole}.dir")


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


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
    mend_torn_files()
    return subprocess.run(
        [sys.executable, "-m", "dvc", command, "--quiet", str(DATA_DVC)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
