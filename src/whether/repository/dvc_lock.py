"""DVC's list of who reads and writes what, where a full disk or a kill has left a part of it.

DVC writes .dvc/tmp/rwlock in place. What a kill leaves whole it tidies up itself, by the process that it names; a part
of a file ends every later command, though it names nobody.
"""

import json
import logging
import time
from pathlib import Path

logger = logging.getLogger(__name__)

RWLOCK = Path(".dvc", "tmp", "rwlock")
WRITING_SECONDS = 1.0
"""Longer than DVC takes to write the file; until then it may be another command that does."""


def remove_torn_lock() -> None:
    """Remove the file if it is not whole, before DVC is started here."""
    if not _is_torn():
        return
    time.sleep(WRITING_SECONDS)
    if _is_torn():
        RWLOCK.unlink(missing_ok=True)
        logger.warning("%s was half-written, by a command that was killed or had no space, and is removed", RWLOCK)


def _is_torn() -> bool:
    try:
        return not isinstance(json.loads(RWLOCK.read_bytes()), dict)
    except FileNotFoundError:
        return False
    except ValueError:
        return True
