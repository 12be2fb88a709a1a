"""Is data/ what data.dvc says, and is data.dvc what git says?"""

import hashlib
import subprocess
from pathlib import Path

from whether.errors import SourceError
from whether.records import DATA

DATA_DVC = Path("data.dvc")


def require_committed_data() -> None:
    """Raise SourceError where data.dvc differs from the one that git has staged or committed.

    So that data that changed under `dvc repro` stops the run until someone has run `git add data.dvc`.
    """
    try:
        shown = subprocess.run(["git", "show", f":./{DATA_DVC}"], capture_output=True, check=False)
    except OSError:  # git is not installed
        return
    if shown.returncode or not DATA_DVC.exists():  # no git, or data.dvc is not known to it yet
        return
    if shown.stdout.split() != DATA_DVC.read_bytes().split():
        raise SourceError(
            "data/ changed, and DVC wrote its new hash into data.dvc. If you meant it: `git add data.dvc` and run"
            " again. If not: `git checkout data.dvc`, remove data/ and run `whether fetch`"
        )


def changed_files() -> list[str]:
    """Return the files of data/ that differ from data.dvc; `data/` alone where DVC's cache cannot say which."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not DATA_DVC.exists():
        raise SourceError(
            f"{DATA_DVC} is missing, so data/ cannot be checked: run `dvc add data` and commit {DATA_DVC}"
        )
    try:
        with Repo() as repo:
            if not repo.status(targets=[str(DATA_DVC)]):
                return []
            (out,) = repo.stage.load_one(str(DATA_DVC)).outs
            listed = out.get_obj()
    except DvcException as error:
        raise SourceError(f"data/ cannot be compared with {DATA_DVC}: {error}") from None
    if listed is None:
        return [f"{DATA}/"]
    expected = {str(DATA / entry["relpath"]): entry["md5"] for entry in listed.as_list()}
    found = {str(file): _md5(file) for file in DATA.rglob("*") if file.is_file()}
    return sorted(file for file in expected.keys() | found.keys() if expected.get(file) != found.get(file))


def _md5(file: Path) -> str:
    """DVC's hash of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
