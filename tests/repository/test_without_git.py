"""DVC works in a folder without git, such as an unpacked ZIP, and is told when git comes."""

import subprocess
import sys
from pathlib import Path

import pytest

from whether.errors import RecordError
from whether.repository.git import git
from whether.repository.without_git import let_dvc_work

LOCAL = Path(".dvc/config.local")


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a ZIP leaves it: DVC's settings and a stage, and no git; its name has a space."""
    place = tmp_path / "my project"
    (place / ".dvc").mkdir(parents=True)
    (place / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (place / "dvc.yaml").write_text("stages:\n  hello:\n    cmd: echo hello > out\n    outs: [out]\n")
    monkeypatch.chdir(place)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return place


def reproduce() -> int:
    return subprocess.run([sys.executable, "-m", "dvc", "repro"], capture_output=True, check=False).returncode


@pytest.mark.real
def test_stages_run_without_git_and_with_it(unpacked: Path) -> None:
    assert reproduce() != 0
    let_dvc_work()
    assert "no_scm = true" in LOCAL.read_text()
    assert reproduce() == 0
    before = LOCAL.stat().st_mtime_ns
    let_dvc_work()
    assert LOCAL.stat().st_mtime_ns == before
    subprocess.run(["git", "init", "--quiet"], check=True)
    let_dvc_work()
    assert "no_scm" not in LOCAL.read_text()
    assert reproduce() == 0


@pytest.mark.real
def test_a_setting_that_somebody_made_stays(unpacked: Path) -> None:
    LOCAL.write_text("[core]\n    no_scm = true\n")
    let_dvc_work()
    subprocess.run(["git", "init", "--quiet"], check=True)
    let_dvc_work()
    assert LOCAL.read_text() == "[core]\n    no_scm = true\n"


def test_a_folder_without_dvc_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    let_dvc_work()
    assert not list(tmp_path.iterdir())


def test_what_needs_git_says_the_command(unpacked: Path) -> None:
    with pytest.raises(
        RecordError, match=r"git log failed: .*my project is not a git repository: `git init && git add"
    ):
        git("log")
