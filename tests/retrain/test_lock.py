"""One job at a time."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import psutil
import pytest

from whether.retrain.lock import ENVIRONMENT_MARK, LockedError, job_lock

HOLD = """
import sys, time, subprocess
from datetime import UTC, datetime
from pathlib import Path
from whether.retrain.lock import job_lock
with job_lock(Path(sys.argv[1]), datetime(2026, 1, 2, tzinfo=UTC)):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    print(child.pid, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process.stdout:
        process.child = int(process.stdout.readline())
    yield process
    process.kill()
    process.wait()
    if psutil.pid_exists(process.child):
        psutil.Process(process.child).kill()


def test_the_second_one_is_refused_with_the_holder(holder, tmp_path):
    with (
        pytest.raises(LockedError, match=rf"locked by pid {holder.pid} since 2026-01-02T00:00:00\+00:00"),
        job_lock(tmp_path, datetime.now(UTC)),
    ):
        pass


@pytest.mark.heavy
def test_a_lock_of_a_process_that_was_killed_is_taken_over(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert psutil.Process(holder.child).is_running()
    with job_lock(tmp_path, datetime.now(UTC)):
        assert os.environ[ENVIRONMENT_MARK]
        deadline = time.time() + 5
        while psutil.pid_exists(holder.child) and psutil.Process(holder.child).status() != "zombie":
            assert time.time() < deadline, "what the killed job had started runs on"
            time.sleep(0.05)
    assert ENVIRONMENT_MARK not in os.environ
    assert not (tmp_path / "holder.json").exists()


def test_one_after_the_other(tmp_path):
    for _ in range(2):
        with job_lock(tmp_path, datetime.now(UTC)):
            assert (tmp_path / "holder.json").exists()


def test_a_broken_note_does_not_stop_the_job(tmp_path):
    (tmp_path / "holder.json").write_text("{")
    with job_lock(tmp_path, datetime.now(UTC)):
        pass
