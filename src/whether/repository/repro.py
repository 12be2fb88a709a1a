"""Run `dvc repro` from the job: heard, logged, and ended with the job."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from whether.errors import EngineError


def dvc_repro(log: Path, *stages: str) -> None:
    """Run `dvc repro`, of all stages where none is named. Raises EngineError.

    What it says goes to standard error and to the end of `log`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "repro", *stages]
    with log.open("a", encoding="utf-8") as kept:
        # In a session of its own, so that a signal to the job ends all that DVC started, not DVC alone.
        process = subprocess.Popen(
            command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
        last = ""
        try:
            for line in process.stdout or ():
                text = line.rstrip("\n").rpartition("\r")[2]
                print(text, file=sys.stderr, flush=True)
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


def _environment() -> dict[str, str]:
    """Return the environment for stages on the settings just composed, which DVC starts as `python`."""
    path = os.environ.get("PATH", os.defpath)
    ours = str(Path(sys.executable).parent)
    if ours not in path.split(os.pathsep):  # as cron calls the job, with no environment activated
        path = os.pathsep.join([ours, path])
    return os.environ | {"WHETHER_COMPOSED": "1", "PATH": path}
