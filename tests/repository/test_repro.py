"""`dvc repro` as the retraining job runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from whether.repository import dvc_lock
from whether.repository.repro import dvc_repro


@pytest.mark.heavy
def test_a_stage_runs_in_the_environment_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is not activated: cron's PATH has the system's Python, or none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
    Path("where.py").write_text("import sys; open('prefix.txt', 'w').write(sys.prefix)")
    Path("dvc.yaml").write_text("stages: {where: {cmd: python where.py, outs: [prefix.txt]}}")
    dvc_repro(tmp_path / "repro.log")
    assert Path("prefix.txt").read_text() == sys.prefix


@pytest.mark.parametrize("left", ["", '{"write": {}, "re', "[]", "\0\0\0"])
def test_a_lock_that_a_full_disk_left_is_removed(left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc_lock, "WRITING_SECONDS", 0.0)
    dvc_lock.remove_torn_lock()  # there is none
    dvc_lock.RWLOCK.parent.mkdir(parents=True)
    dvc_lock.RWLOCK.write_text(left)
    dvc_lock.remove_torn_lock()
    assert not dvc_lock.RWLOCK.exists()


def test_a_lock_that_someone_holds_or_is_writing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = '{"write": {"artifacts/model": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}'
    dvc_lock.RWLOCK.parent.mkdir(parents=True)
    dvc_lock.RWLOCK.write_text(whole)
    dvc_lock.remove_torn_lock()
    assert dvc_lock.RWLOCK.read_text() == whole
    dvc_lock.RWLOCK.write_text(whole[:20])
    monkeypatch.setattr("time.sleep", lambda _: dvc_lock.RWLOCK.write_text(whole))
    dvc_lock.remove_torn_lock()
    assert dvc_lock.RWLOCK.read_text() == whole
