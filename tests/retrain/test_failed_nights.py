"""What a night that failed leaves for the next one."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.retrain.conftest import NOW, night
from whether.config import Config
from whether.errors import RecordError
from whether.records import Finding, RetrainingRun
from whether.retrain import job
from whether.retrain.evidence import carry_over_fired

FIRED, QUIET = Finding("drift", True, "changed", 120.0, 100.0), Finding("drift", False, "ebbs", 80.0, 100.0)


def failed(number: int, *findings: Finding) -> RetrainingRun:
    return night(number, outcome="failed", findings=list(findings))


def test_what_fired_before_a_failure_fires_until_a_night_comes_to_its_end() -> None:
    found = carry_over_fired(QUIET, [night(1), failed(2, FIRED), failed(3)])
    assert found == replace(QUIET, fired=True, reason="fired in night 2, which failed; ebbs")
    assert carry_over_fired(FIRED, [failed(2, FIRED)]) == FIRED
    assert carry_over_fired(QUIET, [failed(2, FIRED), night(3, findings=[QUIET])]) == QUIET
    assert carry_over_fired(QUIET, [failed(2, replace(FIRED, trigger="another"))]) == QUIET
    state = replace(QUIET, state="as it is now")
    assert carry_over_fired(state, [failed(2, replace(FIRED, state="as it was"))]) == state


def test_a_night_that_failed_after_the_pipeline_made_no_challenger(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_at_the_gate(work: job.RunState, _text: str, _forced: bool) -> tuple[str, str]:
        work.step, work.examined = "gate", True
        raise RecordError("the disk is full")

    monkeypatch.setattr(job, "_work", fails_at_the_gate)
    work = job.start(replace(config, retrain=replace(config.retrain, folder=str(tmp_path))), NOW)
    done = job.run(work, "")
    assert (done.outcome, done.reason, done.examined) == ("failed", "gate: the disk is full", False)
    assert job.read_nights(tmp_path) == [done]
