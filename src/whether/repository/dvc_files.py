"""Files that DVC writes in place, where a full disk or a kill has left a part of one: each would end every later run.

.dvc/tmp/rwlock lists who reads and writes what; what a kill leaves whole there DVC tidies up by the processes that it
names. dvc.lock says what stages have made; what is missing in it DVC takes from its cache of runs.
"""

import json
import logging
import time
from pathlib import Path
from typing import Any

import yaml

from whether.records import STATE, write_text

logger = logging.getLogger(__name__)

RWLOCK = Path(".dvc", "tmp", "rwlock")
LOCKFILE = Path("dvc.lock")
KEPT = STATE / "dvc.lock"
"""The last dvc.lock that was whole when DVC was started here."""
TORN = STATE / "dvc.lock.torn"
WRITING_SECONDS = 1.0
"""Longer than DVC takes to write a file; until then it may be another command that does."""
_HALF = "was half-written, by a command that was killed or had no space"


def mend_torn_files() -> None:
    """Put back, or remove, what is not whole, before DVC is started here."""
    if _is_rwlock_torn() and _stays(_is_rwlock_torn):
        RWLOCK.unlink(missing_ok=True)
        logger.warning("%s %s, and is removed", RWLOCK, _HALF)
    if not LOCKFILE.exists():
        return
    if not is_lockfile_torn() or not _stays(is_lockfile_torn):
        text = LOCKFILE.read_text(encoding="utf-8", errors="replace")
        if not KEPT.exists() or KEPT.read_text(encoding="utf-8") != text:
            write_text(KEPT, text)
        return
    write_text(TORN, LOCKFILE.read_text(encoding="utf-8", errors="replace"))
    if KEPT.exists():
        write_text(LOCKFILE, KEPT.read_text(encoding="utf-8"))
    else:  # there was none when DVC was first started here
        LOCKFILE.unlink()
    logger.warning("%s %s; the one before is put back, and that one is %s", LOCKFILE, _HALF, TORN)


def _stays(torn: Any) -> bool:
    time.sleep(WRITING_SECONDS)
    return bool(torn())


def _is_rwlock_torn() -> bool:
    try:
        return not isinstance(json.loads(RWLOCK.read_bytes()), dict)
    except FileNotFoundError:
        return False
    except ValueError:
        return True


def is_lockfile_torn() -> bool:
    """Return whether dvc.lock lacks its end. One with conflicts of git in it is somebody's work, and whole."""
    text = LOCKFILE.read_text(encoding="utf-8", errors="replace") if LOCKFILE.exists() else ""
    if "<<<<<<< " in text:
        return False
    try:
        content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - the fast safe one
    except yaml.YAMLError:
        return True
    return not text.endswith("\n") or not isinstance(content, dict) or not all(map(_is_stage, _values(content)))


def _values(content: dict[str, Any]) -> list[Any]:
    stages = content.get("stages", {})
    return list(stages.values()) if isinstance(stages, dict) else [None]


def _is_stage(stage: Any) -> bool:
    """Return whether a stage has all that DVC's schema asks for."""
    if not isinstance(stage, dict) or "cmd" not in stage or any(value is None for value in stage.values()):
        return False
    entries = [*stage.get("deps", []), *stage.get("outs", [])]
    return all(isinstance(entry, dict) and "path" in entry for entry in entries)
