"""`dvc repro` as the retraining job runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

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
