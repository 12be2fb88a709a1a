"""The campaigns of benchmarks/, small: malformed inputs, and a run that is killed."""

import random
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

from tests.retrain.workplace import SETTINGS, Workplace

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
    places = fuzz.Places(tmp_path, warm / "python")
    found = fuzz.try_all(places, 12, 0, lanes=1, keep=tmp_path / "kept")
    assert len({ended.family for ended in found}) == 11
    assert not [(ended.family, ended.faults, ended.text[-2000:]) for ended in found if ended.faults]


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
    quick, share = ["-m", "whether.cli", "quick", *SETTINGS], random.Random(str(date.today())).random()
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
    found = fuzz.try_all(fuzz.Places(tmp_path, warm / "python"), 300, 1, lanes=2, keep=tmp_path / "kept")
    assert not [(ended.family, ended.faults, ended.text[-2000:]) for ended in found if ended.faults]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kills_of_every_kind(campaigns: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    _, all_kills = campaigns
    found = all_kills.campaign(8, 0, tmp_path, [""], lambda _: None)
    assert not [one.line() for one in found if one.lost or one.doubled or one.problems]
