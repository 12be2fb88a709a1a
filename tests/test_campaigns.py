"""The campaigns of benchmarks/, small: malformed inputs, and a run that is killed."""

import contextlib
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.retrain.workplace import SETTINGS, Workplace

OPEN: set[str] = set()
"""Families with faults that are known."""
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def campaigns() -> Iterator[tuple[ModuleType, ModuleType]]:
    before = [*sys.path]
    sys.path.insert(0, str(BENCHMARKS))
    import all_kills
    import fuzz

    yield fuzz, all_kills
    sys.path[:] = before


def test_what_counts_as_a_fault(campaigns: tuple[ModuleType, ModuleType]) -> None:
    fuzz, _ = campaigns
    assert fuzz.judged(1, "error: rows.csv, line 3: no label", fails=False) == []
    assert fuzz.judged(0, "all is well", fails=False) == []
    assert fuzz.judged(1, "Traceback (most recent call last):\n", fails=False) == ["tracebacks"]
    assert fuzz.judged(-1, "", fails=False) == ["hangs"]
    assert fuzz.judged(0, "error: rows.csv, line 3", fails=False) == ["wrong_exits"]
    assert fuzz.judged(1, "error: a.csv\nerror: b.csv", fails=False) == ["wrong_exits"]
    assert fuzz.judged(-11, "", fails=False) == ["wrong_exits"]
    assert fuzz.judged(1, "error: something went wrong", fails=False) == ["unplaced"]


@pytest.mark.parametrize("name", [".part.json", "half.json"])
def test_what_is_half_written_is_seen(campaigns: tuple[ModuleType, ModuleType], name: str, tmp_path: Path) -> None:
    fuzz, _ = campaigns
    folder = tmp_path / "artifacts" / "prepare"
    folder.mkdir(parents=True)
    (folder / "task.json").write_text("{}")
    assert fuzz.whole(tmp_path)
    (folder / name).write_text('{"a": ')
    assert not fuzz.whole(tmp_path)


@pytest.mark.real(minutes=1)
def test_some_malformed_inputs_of_every_family(
    campaigns: tuple[ModuleType, ModuleType], tmp_path: Path, warm: Path
) -> None:
    fuzz, _ = campaigns
    with fuzz.Places(tmp_path, warm / "python") as places:
        found = fuzz.try_all(places, 11, 0, lanes=1, check=False, keep=tmp_path / "kept")
    assert len({ended.family for ended in found}) == 11
    assert not [
        (ended.family, ended.faults, ended.text[-2000:]) for ended in found if ended.faults and ended.family not in OPEN
    ]


def test_what_is_lost_and_doubled_is_counted(campaigns: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    fuzz, kills = campaigns
    place = SimpleNamespace(path=tmp_path, lines=lambda name: lines[name])
    lines = {
        "data/collected/mine.jsonl": [{"row": {"text": text}} for text in ("a", "b", "b")],
        "retrain/runs.jsonl": [{"number": 1}, {"number": 3}],
    }
    for name in ("inbox", "retrain"):
        (tmp_path / name).mkdir()
    (tmp_path / "inbox" / "left.jsonl").write_text("{}")
    (tmp_path / "retrain" / "champion.json").write_text('{"champion": "gone"}')
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        for table in (
            "registered_model_aliases (name, version, alias)", "model_versions (name, version, source)",
            "model_version_tags (name, version, key, value)",
        ):  # fmt: skip
            database.execute(f"create table {table}")
    outcome = kills.Outcome("retrain", 0.0)
    kills.compare_job(place, ["a", "b", "c"], outcome)
    assert (outcome.lost, outcome.doubled) == (2, 1)
    assert [" ".join(problem.split()[:2]) for problem in outcome.problems] == [
        "the runs",
        "the champion",
        "the registry",
    ]

    rows = [{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]
    family = fuzz.Family("rows", tmp_path, None, [], found=lambda _: found)
    found = SimpleNamespace(accounted=2, kept=[("x", "a"), ("y ", "b")])
    assert fuzz.lost(family, rows, tmp_path) == []
    found = SimpleNamespace(accounted=1, kept=[("x", "a")])
    assert fuzz.lost(family, rows, tmp_path) == ["silent_losses"]
    found = SimpleNamespace(accounted=2, kept=[("x", "a"), ("y", "nan")])
    assert fuzz.lost(family, rows, tmp_path) == ["silent_losses"]


@pytest.fixture
def begin(tmp_path: Path, able_model: Path, warm: Path, empty_database: Path) -> Workplace:
    """A repository before its first run."""
    (tmp_path / "begin").mkdir()
    return Workplace(tmp_path / "begin", able_model, warm, empty_database)


@pytest.mark.real(minutes=1)
def test_a_run_that_is_killed_ends_as_any_other(
    campaigns: tuple[ModuleType, ModuleType], tmp_path: Path, begin: Workplace
) -> None:
    _, kills = campaigns
    quick, share = (
        ["-m", "whether.cli", "quick", *SETTINGS, "checkpoint=[base]"],
        random.Random(str(date.today())).random(),
    )
    killed, left_alone = (kills.copied(begin, tmp_path / name) for name in ("killed", "left_alone"))
    began = time.monotonic()
    assert kills.finish(left_alone, quick).returncode == 0
    usual = time.monotonic() - began
    outcome = kills.Outcome("run", share * usual)
    kills.disturb(killed, kills.Case(quick), outcome, random.Random(0))
    done = kills.finish(killed, quick)
    assert done.returncode == 0, done.stderr[-3000:]
    assert kills.answers(killed.path) == kills.answers(left_alone.path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_malformed_inputs(campaigns: tuple[ModuleType, ModuleType], tmp_path: Path, warm: Path) -> None:
    fuzz, _ = campaigns
    with fuzz.Places(tmp_path, warm / "python") as places:
        found = fuzz.try_all(places, 300, 1, lanes=2, keep=tmp_path / "kept")
    assert not [
        (ended.family, ended.faults, ended.text[-2000:]) for ended in found if ended.faults and ended.family not in OPEN
    ]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_of_every_kind(campaigns: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    _, all_kills = campaigns
    found = all_kills.campaign(8, 0, tmp_path, [""], tell=print, keep=tmp_path / "failed")
    assert not [one.line() for one in found if one.lost or one.doubled or one.problems]
