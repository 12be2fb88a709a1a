"""What a failed retraining run leaves for the next one."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.retrain.conftest import NOW, retraining_run
from whether.config import Config
from whether.errors import RecordError
from whether.records import Finding, RetrainingRun, read_runs, write_jsonl
from whether.retrain import job
from whether.retrain.evidence import carry_over_fired

FIRED, QUIET = Finding("drift", True, "changed", 120.0, 100.0), Finding("drift", False, "ebbs", 80.0, 100.0)


def failed(number: int, *findings: Finding) -> RetrainingRun:
    return retraining_run(number, outcome="failed", findings=list(findings))


def test_what_fired_before_a_failure_fires_until_a_run_finishes() -> None:
    found = carry_over_fired(QUIET, [retraining_run(1), failed(2, FIRED), failed(3)])
    assert found == replace(QUIET, fired=True, reason="fired in run 2, which failed; ebbs")
    assert carry_over_fired(FIRED, [failed(2, FIRED)]) == FIRED
    assert carry_over_fired(QUIET, [failed(2, FIRED), retraining_run(3, findings=[QUIET])]) == QUIET
    assert carry_over_fired(QUIET, [failed(2, replace(FIRED, trigger="another"))]) == QUIET
    state = replace(QUIET, state="as it is now")
    assert carry_over_fired(state, [failed(2, replace(FIRED, state="as it was"))]) == state


def test_a_run_that_failed_after_the_pipeline_made_no_challenger(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_at_the_gate(work: job.RunState, _text: str, _forced: bool) -> tuple[str, str]:
        work.step, work.challenger_trained = "gate", True
        raise RecordError("the disk is full")

    monkeypatch.setattr(job, "_run_steps", fails_at_the_gate)
    work = job.start(replace(config, retrain=replace(config.retrain, folder=str(tmp_path))), NOW)
    done = job.run(work, "")
    assert (done.outcome, done.reason, done.challenger_trained) == ("failed", "gate: the disk is full", False)
    assert read_runs(tmp_path) == [done]


def test_a_run_that_ends_unexpectedly_has_its_record(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(work: job.RunState, _text: str, _forced: bool) -> tuple[str, str]:
        work.step = "taking in"
        raise TypeError("nobody thought of this")

    monkeypatch.setattr(job, "_run_steps", fails)
    (tmp_path / "champion.json").write_text("{broken")
    work = job.start(replace(config, retrain=replace(config.retrain, folder=str(tmp_path))), NOW)
    done = job.run(work, "")
    assert done.outcome == "failed"
    log = tmp_path / "logs" / "000001.log"
    assert done.reason.startswith(
        f"taking in: unexpected TypeError: nobody thought of this; {log} says where; and the cha"
    )
    assert "champion.json" in done.reason
    assert "in fails" in log.read_text()
    assert read_runs(tmp_path) == [done]


def test_a_run_after_those_of_an_earlier_version(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their file has the old name until a run is recorded; a dry run or the status leaves it."""
    monkeypatch.setattr(job, "_run_steps", lambda *_: ("no_trigger", "no trigger fired"))
    before = [retraining_run(1), retraining_run(2)]
    write_jsonl(tmp_path / "nights.jsonl", before)
    work = job.start(replace(config, retrain=replace(config.retrain, folder=str(tmp_path))), NOW)
    assert (work.number, work.runs) == (3, before)
    assert (tmp_path / "nights.jsonl").exists()
    done = job.run(work, "")
    assert read_runs(tmp_path) == [*before, done]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs.jsonl"]
