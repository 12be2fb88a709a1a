"""What a full disk or a kill leaves of the files that DVC writes in place."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whether.repository import dvc_files
from whether.repository.dvc_files import KEPT, LOCKFILE, RWLOCK, TORN, is_lockfile_torn, mend_torn_files

WHOLE = """schema: '2.0'
stages:
  prepare:
    cmd: python -m pipelines.prepare
    deps:
    - path: data/rows.csv
      hash: md5
      md5: 7b59a0b2c7f2a1d0e2c4c0a8d1f6e3b5
      size: 1200
    outs:
    - path: artifacts/prepare
      hash: md5
      md5: 0cc175b9c0f1b6a831c399e269772661.dir
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dvc_files, "WRITING_SECONDS", 0.0)


@pytest.mark.parametrize("left", ["", '{"write": {}, "re', "[]", "\0\0\0"])
def test_a_lock_of_which_a_part_is_left_is_removed(left: str) -> None:
    mend_torn_files()  # there is none
    RWLOCK.parent.mkdir(parents=True)
    RWLOCK.write_text(left)
    mend_torn_files()
    assert not RWLOCK.exists()


def test_a_lock_that_someone_holds_stays() -> None:
    whole = '{"write": {"artifacts/model": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}'
    RWLOCK.parent.mkdir(parents=True)
    RWLOCK.write_text(whole)
    mend_torn_files()
    assert RWLOCK.read_text() == whole


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_what_is_left_of_dvc_lock_can_be_used_or_is_torn(length: int) -> None:
    """At the end of an entry nothing shows that others followed: DVC reads it, and takes those from its cache."""
    LOCKFILE.write_text(WHOLE[:length])
    ends = (
        "prepare.csv\n",
        "rows.csv\n",
        "hash: md5\n",
        "size: 1200\n",
        "3b5\n",
        "artifacts/prepare\n",
        "pipelines.prepare\n",
        "'2.0'\n",
    )
    assert is_lockfile_torn() != WHOLE[:length].endswith(ends)


def test_the_lock_before_is_put_back() -> None:
    LOCKFILE.write_text(WHOLE)
    mend_torn_files()
    assert KEPT.read_text() == WHOLE
    LOCKFILE.write_text(WHOLE[:-20])
    mend_torn_files()
    assert (LOCKFILE.read_text(), TORN.read_text()) == (WHOLE, WHOLE[:-20])


def test_without_a_lock_before_there_is_none_after() -> None:
    LOCKFILE.write_text("")
    mend_torn_files()
    assert not LOCKFILE.exists()


def test_conflicts_of_git_are_left_to_whoever_merges() -> None:
    mend_torn_files()
    conflict = f"<<<<<<< HEAD\n{WHOLE}=======\n{WHOLE}>>>>>>> other"
    LOCKFILE.write_text(conflict)
    mend_torn_files()
    assert LOCKFILE.read_text() == conflict


@pytest.mark.heavy
@pytest.mark.parametrize("file", [RWLOCK, LOCKFILE])
def test_dvc_runs_again(file: Path) -> None:
    def dvc(*words: str) -> int:
        return subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, check=False).returncode

    assert dvc("init", "--quiet", "--no-scm") == 0
    Path("dvc.yaml").write_text("stages:\n  a:\n    cmd: echo 1 > made\n    outs: [made]\n")
    mend_torn_files()
    assert dvc("repro") == 0
    mend_torn_files()
    file.write_text("sche")
    assert dvc("repro") != 0
    mend_torn_files()
    assert dvc("repro") == 0
