"""`whether upgrade`: the flow, settings and examples of the installed version, in a project that another one made.

As package managers treat settings files: what is still as it was shipped is replaced. What was edited gets the newer
version's changes by a three-way merge; where that cannot be done it stays, and the newer file is written next to it.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from whether import __version__
from whether.cli.new import project_files
from whether.config import compose, write_params
from whether.errors import ConfigError
from whether.records import write_text
from whether.repository.code import CODE_STAGE, FLOW, flow_stages, write_code
from whether.repository.git import blob_id, git, merge_texts
from whether.repository.origin import ORIGIN, ProjectOrigin, read_origin, write_origin
from whether.repository.versions import in_git

NEWER = ".new"
"""End of the name of a newer file next to one that was edited."""


class FileChange(NamedTuple):
    """What an upgrade does with one file of a project."""

    what: Literal["replaced", "merged", "added", "removed", "left"]
    path: str
    text: str | None
    """What is written; None removes the file."""

    @property
    def target(self) -> str:
        """The file that is written."""
        return self.path + NEWER if self.what == "left" else self.path


def upgrade_project(dry_run: bool) -> None:
    """Upgrade the project in the working folder, and say what was done, or with `dry_run` what would be.

    Raises ConfigError where this is no project, where git has no version of a file that would be written, and where the
    settings cannot be composed afterwards; RecordError for a record that cannot be read.
    """
    # 1. What the project was made of, and what it would be made of now.
    if CODE_STAGE not in flow_stages(Path()):
        raise ConfigError(
            f"{FLOW} is not that of a project which `whether new` made: in a clone of the repository, `git pull`"
            " brings the newer flow"
        )
    origin = read_origin(Path()) or ProjectOrigin(version="", name=Path.cwd().name, files={}, originals={})
    newer = project_files(origin.name)
    paths = sorted(newer.keys() | origin.files.keys())
    changes = [change for path in paths if (change := file_change(path, newer.get(path), origin))]
    if not changes and origin.version == __version__:
        print(f"Nothing to upgrade: this project is that of whether {__version__}.")
        return
    # 2. Nothing is written over what git could not bring back.
    writes = {change.target: change.text for change in changes if _text(change.target) != change.text}
    _require_committed([*writes, str(ORIGIN)])
    _show(changes, origin.version, dry_run)
    if dry_run:
        return
    # 3. The record comes after the files, so that an upgrade that was interrupted is done again from the beginning.
    for target, text in writes.items():
        if text is None:
            Path(target).unlink()
        else:
            write_text(Path(target), text)
    write_origin(Path(), origin.name, newer)
    # 4. What is made of these files. Code first: the flow may watch other parts now.
    write_code(Path())
    try:
        write_params(compose([]))
    except ConfigError as error:
        raise ConfigError(f"the files are upgraded, but your settings do not fit them yet: {error}") from error


def file_change(path: str, newer: str | None, origin: ProjectOrigin) -> FileChange | None:
    """Return what has to be done with a file of the working folder, of which `newer` is shipped now; None for nothing.

    Nothing, where what is shipped has not changed, and where someone removed the file, or edited one that is not
    shipped any more: it is theirs.
    """
    shipped_as, current = origin.files.get(path), _text(path)
    if current == newer or (newer is not None and shipped_as == blob_id(newer)):
        return None
    if current is None:
        return FileChange("added", path, newer) if shipped_as is None else None
    if shipped_as == blob_id(current):
        return FileChange("replaced" if newer is not None else "removed", path, newer)
    if newer is None:
        return None
    original = origin.original(path)
    merged = None if original is None else merge_texts(current, original, newer)
    if merged is None:
        return FileChange("left", path, newer)
    return FileChange("merged", path, merged) if merged != current else None


def _text(path: str) -> str | None:
    """Return the content of a file of the project; None where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text: convert it, or move it away, and upgrade again") from None


def _require_committed(targets: list[str]) -> None:
    """Raise ConfigError where git could not bring back what a file holds now."""
    if not in_git():
        raise ConfigError("this project is in no git repository, which could undo an upgrade: `git init` and commit it")
    shown = git("status", "--porcelain", "--untracked-files=all", "--", *targets)
    changed = [line.split(maxsplit=1)[1] for line in shown.splitlines()]
    if changed:
        raise ConfigError(
            f"{', '.join(changed[:5])}{' and others' if len(changed) > 5 else ''}: not committed, and an upgrade would"
            " write there: commit, or `git stash`, and upgrade again"
        )


def _show(changes: list[FileChange], version: str, dry_run: bool) -> None:
    """Print what is done with which file."""
    if version:
        print(f"From whether {version} to {__version__}")
    else:
        print(
            f"This project has no {ORIGIN}, which says what it was made of: each file that differs from that of whether"
            f" {__version__} counts as edited."
        )
    notes = {"merged": "your changes and the newer ones", "removed": "not shipped any more"}
    for change in changes:
        note = f"is yours; the newer one is {change.target}" if change.what == "left" else notes.get(change.what, "")
        print(f"  {change.what:8}  {change.path}  {note}".rstrip())
    if dry_run:
        print("Nothing is written yet: that was --dry-run.")
    elif any(change.what == "left" for change in changes):
        print(f"Take over what you need of the {NEWER} files and remove them. `git diff` shows the rest; then commit.")
    else:
        print("`git diff` shows what changed; then commit.")
