"""A publication that is killed."""

import subprocess
from pathlib import Path

from synthetic_records import Records

PUBLISH = """
import os, signal, sys
from pathlib import Path
from whether.entry import prepare_process
prepare_process()
from whether.config import load
from whether.tracking.candidates import registered_arms
from whether.tracking.publish import publish
from mlflow import MlflowClient
from mlflow.tracing.client import TracingClient
method, count = sys.argv[2], int(sys.argv[3])
owner = TracingClient if method in ("log_spans", "start_trace") else MlflowClient
def deadly(*args, real=getattr(owner, method), **options):
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
setattr(owner, method, deadly)
root = Path(sys.argv[1])
config = load(root / "params.yaml")
publish(config, root / "artifacts", registered_arms(config, root / "artifacts"))
"""


def start_publishing(
    warm: Path, records: Records, kill_at: str = "log_batch", count: int = 0
) -> "subprocess.Popen[str]":
    """Publish in a process of its own, which is killed when it calls a method of MLflow's client for the nth time."""
    command = [str(warm / "python"), "-c", PUBLISH, str(records.root), kill_at, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
