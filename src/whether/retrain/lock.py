"""One job at a time; a note names the holder of the lock."""

import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from whether.errors import WhetherError
from whether.records import exclusive_lock, write_json

logger = logging.getLogger(__name__)

ENVIRONMENT_MARK = "WHETHER_RETRAIN"
"""Environment variable that marks the processes that a job started."""


class LockedError(WhetherError):
    """Another job is at work."""


@contextmanager
def job_lock(folder: Path, now: datetime) -> Iterator[None]:
    """Hold the job's lock. Raises LockedError, with the other's pid and start, where it is taken.

    Processes that a killed job left behind (the pipeline that it had started) are terminated first.
    """
    note = folder / "holder.json"
    with exclusive_lock(folder / "lock", lambda: _locked(folder, _read(note))):
        _terminate_orphans(_read(note))
        mark = uuid.uuid4().hex
        write_json(note, {"pid": os.getpid(), "since": now.isoformat(timespec="seconds"), "mark": mark})
        os.environ[ENVIRONMENT_MARK] = mark
        try:
            yield
        finally:
            os.environ.pop(ENVIRONMENT_MARK, None)
            note.unlink(missing_ok=True)


def _locked(folder: Path, holder: dict[str, object]) -> LockedError:
    return LockedError(
        f"locked by pid {holder.get('pid', 'unknown')} since {holder.get('since', 'just now')}: another retraining job"
        f" is at work on {folder}/"
    )


def _read(note: Path) -> dict[str, object]:
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _terminate_orphans(holder: dict[str, object]) -> None:
    """Terminate the processes of a job that was killed, found by the mark in their environment."""
    import psutil

    if not holder.get("mark"):
        return
    logger.warning("the job of pid %s, begun %s, did not finish; continuing", holder["pid"], holder["since"])
    orphans = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(ENVIRONMENT_MARK) == holder["mark"] and process.pid != os.getpid():
                process.terminate()
                orphans.append(process)
        except (psutil.Error, OSError):
            continue
    _, alive = psutil.wait_procs(orphans, timeout=20)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)
