"""Run `dvc repro`: heard line by line and kept in a log."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING

from whether.entry import MARK_LINES
from whether.errors import EngineError
from whether.printing.terminal import say
from whether.repository.dvc_files import mend_torn_files
from whether.repository.without_git import let_dvc_work

if TYPE_CHECKING:
    import psutil

IDLE_SECONDS = 0.5
GRACE_SECONDS = 20.0
"""What a stage has for its end after SIGTERM: a training step and its checkpoint take a few seconds."""
FAILED_STAGE = 255
"""What `dvc repro` ends with where a stage has failed: an error as any other."""


def reproduce(log: Path, *stages: str, on_line: Callable[[str], None], on_idle: Callable[[], None]) -> int:
    """Run `dvc repro` in the session of the terminal, of all stages where none is named, and return its status.

    Each line that DVC and its stages print is added to `log` and given to `on_line`; a progress bar is not. `on_idle`
    is called about twice a second. After Ctrl-C, which DVC and the stage get too, it waits for their end; any other
    exception ends both.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    lines: Queue[str | None] = Queue()
    with log.open("a", encoding="utf-8") as kept, _start(*stages) as process:
        Thread(target=_put_lines, args=(process, lines), daemon=True).start()
        try:
            for line in _coming(lines, on_idle):
                if not is_bar(line):
                    print(line, file=kept, flush=True)
                    on_line(line)
        except KeyboardInterrupt:
            for line in _coming(lines, lambda: None):
                print(line, file=kept, flush=True)
            raise
        except BaseException:
            _terminate(process)
            raise
        status = process.wait()
    return 1 if status == FAILED_STAGE else status


def _coming(lines: "Queue[str | None]", on_idle: Callable[[], None]) -> Iterator[str]:
    due = time.monotonic()
    while True:
        line: str | None = ""
        with suppress(Empty):
            line = lines.get(timeout=IDLE_SECONDS)
        if line is None:
            return
        if line:
            yield line
        if time.monotonic() >= due:  # also while bars leave no pause
            on_idle()
            due = time.monotonic() + IDLE_SECONDS


def _terminate(process: subprocess.Popen[str]) -> None:
    """End DVC and the stage that it has started, which would otherwise continue alone."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        dvc = psutil.Process(process.pid)
        ended = [*dvc.children(recursive=True), dvc]
        for one in ended:
            with suppress(psutil.NoSuchProcess):
                one.terminate()
        due = time.monotonic() + GRACE_SECONDS
        while any(_runs(one) for one in ended) and time.monotonic() < due:
            time.sleep(0.1)
        for one in ended:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def _runs(one: "psutil.Process") -> bool:
    """Return whether a process runs; one that has ended may stay listed where its new parent takes no note of it."""
    import psutil

    try:
        return bool(one.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_bar(line: str) -> bool:
    """Return whether a line is one state of a library's progress bar."""
    return "%|" in line or "it/s]" in line or not line.strip()


def _put_lines(process: subprocess.Popen[str], lines: "Queue[str | None]") -> None:
    for line in _lines(process):
        lines.put(line)
    lines.put(None)


def dvc_repro(log: Path, *stages: str) -> None:
    """Run `dvc repro` from the retraining job, of all stages where none is named. Raises EngineError.

    What it says goes to standard error and to the end of `log`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as kept:
        process = _start(*stages, from_job=True)
        last = ""
        try:
            for text in _lines(process):
                say(text, file=sys.stderr)
                kept.write(text + "\n")
                kept.flush()
                last = text if text.startswith("error: ") else last
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        finally:
            if process.stdout:
                process.stdout.close()
            process.wait()
    if process.returncode:
        raise EngineError(f"`dvc repro` ended with status {process.returncode}; {last or f'see {log}'}")


def _start(*stages: str, from_job: bool = False) -> subprocess.Popen[str]:
    """Start DVC. The job's is in a session of its own, so that a signal to the job ends all that DVC started."""
    let_dvc_work()
    mend_torn_files()
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", *stages], env=_environment(from_job=from_job), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=from_job,
    )  # fmt: skip


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    for line in process.stdout or ():
        yield line.rstrip("\n").rpartition("\r")[2]


def _environment(*, from_job: bool) -> dict[str, str]:
    """Return the environment for stages on the settings just composed, which DVC starts as `python`: this one.

    The job's own PATH decides where it has this Python's folder; cron calls it with no environment activated.
    """
    path, ours = os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)
    if not (from_job and ours in path.split(os.pathsep)):
        path = os.pathsep.join([ours, path])
    marked = {} if from_job else {MARK_LINES: "1"}
    return os.environ | {"WHETHER_COMPOSED": "1", "PATH": path} | marked
