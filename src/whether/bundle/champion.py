"""Which bundle answers: retrain/champion.json, one small file that is replaced as a whole, after everything else."""

import shutil
from datetime import datetime
from pathlib import Path

from whether.bundle.bundle import Bundle, load_bundle
from whether.errors import RecordError
from whether.records import Champion, read_json, write_json


def read_champion(folder: Path) -> Champion:
    """Return the champion. Raises RecordError where there is none."""
    file = folder / "champion.json"
    if not file.exists():
        raise RecordError(f"{file} is missing: there is no champion yet; `whether retrain run` makes the first")
    return read_json(file, Champion)


def read_champion_or_none(folder: Path) -> Champion | None:
    """Return the champion, None where there is none. Raises RecordError for a file that is broken."""
    return read_champion(folder) if (folder / "champion.json").exists() else None


def promote(folder: Path, bundle: Bundle, run: int, now: datetime, reason: str) -> Champion:
    """Make a bundle the champion, and remember the previous one. Raises RecordError if the bundle is incomplete."""
    load_bundle(bundle.folder)
    before = read_champion_or_none(folder)
    if before is not None and before.champion == bundle.record.id:
        return before
    made = Champion(
        champion=bundle.record.id,
        previous=before.champion if before else None,
        since=now.isoformat(timespec="seconds"),
        run=run,
        reason=reason,
    )
    write_json(folder / "champion.json", made)
    return made


def rollback(folder: Path, run: int, now: datetime) -> Champion:
    """Make the previous champion the champion again; a second call undoes that. Raises RecordError."""
    before = read_champion(folder)
    if before.previous is None:
        raise RecordError(f"{before.champion} is the first champion: there is no earlier one to roll back to")
    load_bundle(folder / "bundles" / before.previous)
    made = Champion(
        champion=before.previous,
        previous=before.champion,
        since=now.isoformat(timespec="seconds"),
        run=run,
        reason=f"rolled back from {before.champion}",
    )
    write_json(folder / "champion.json", made)
    return made


def prune(folder: Path, keep: int) -> list[str]:
    """Remove all but the newest `keep` bundles, never the champion or the previous one; return what was removed."""
    champion = read_champion_or_none(folder)
    needed = {champion.champion, champion.previous} if champion else set()
    made = [path for path in (folder / "bundles").glob("*") if (path / "bundle.json").exists()]
    old = sorted(made, key=lambda path: (path / "bundle.json").stat().st_mtime, reverse=True)[keep:]
    removed = [path.name for path in old if path.name not in needed]
    for name in removed:
        shutil.rmtree(folder / "bundles" / name)
        (folder / "answers" / f"{name}.jsonl").unlink(missing_ok=True)
    return removed
