"""A search on the tiny model: better settings, the same trials each time, also when it is killed."""

import contextlib
import dataclasses
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tuning import make_checkpoint

from whether.config import CheckpointConfig, Config, TunerConfig
from whether.entry import prepare_process
from whether.errors import ConfigError, RecordError
from whether.records import STATE, SearchRecord, TrialRecord, read_json, read_jsonl
from whether.search.search import search

pytest.importorskip("optuna")

RATES = {"learning_rate": {"low": 1e-5, "high": 0.1, "log": True}}


def trials_of(folder: Path) -> list[TrialRecord]:
    return read_jsonl(folder / "trials.jsonl", TrialRecord)


def timeless(folder: Path) -> list[dict[str, Any]]:
    measured = {"seconds", "started", "ended"}
    return [{k: v for k, v in line.items() if k not in measured} for line in read_jsonl(folder / "trials.jsonl")]


@pytest.mark.heavy
def test_it_finds_a_better_learning_rate_than_a_bad_one(artifacts: Path, settings: Any) -> None:
    config = settings(RATES, tuned={"learning_rate": 1e-5}, trials=6, startup_trials=3)
    folder = search("lora", config, artifacts=artifacts)
    own, *others = trials = trials_of(folder)
    record = read_json(folder / "search.json", SearchRecord)
    assert [trial.number for trial in trials] == list(range(6))
    assert own.settings == {"learning_rate": 1e-5}, "the checkpoint's own settings come first"
    assert record.best is not None
    best = trials[record.best]
    assert best.value == max(trial.value for trial in trials if trial.state == "complete")
    assert best.dev_loss < own.dev_loss / 2
    assert best.dev_exact > own.dev_exact
    assert {trial.settings["learning_rate"] for trial in others}.isdisjoint({1e-5})
    assert not list(STATE.glob("search/lora/trial-*")), "nothing is left behind"
    picture = (folder / "search.svg").read_text()
    assert "learning_rate" in picture
    assert "best so far" in picture


@pytest.mark.heavy
def test_the_best_is_an_ordinary_checkpoint_that_finetune_makes_again(artifacts: Path, settings: Any) -> None:
    space = {**RATES, "epochs": {"choices": [1, 2]}, "adapter": {"r": {"low": 2, "high": 8}}}
    config = settings(space, trials=3, startup_trials=3)
    folder = search("lora", config, artifacts=artifacts)
    text = (folder / "best.yaml").read_text()
    trials = trials_of(folder)
    best = max((trial for trial in trials if trial.state == "complete"), key=lambda trial: trial.value)
    assert text.startswith("# @package checkpoints.lora_searched\n# Found by `whether search lora`")
    assert f"trial {best.number + 1}, the best of 3" in text
    assert "# searched: 1e-05 to 0.1, log" in text
    checkpoint = CheckpointConfig(**yaml.safe_load(text))
    tuner = TunerConfig(**checkpoint.tuner) if isinstance(checkpoint.tuner, dict) else checkpoint.tuner
    assert tuner is not None
    found = dataclasses.asdict(tuner)
    assert {name: found["adapter"][name[8:]] if "." in name else found[name] for name in space_names(space)} == (
        best.settings
    )
    with_tuner = artifacts.parent / "made"
    with_tuner.mkdir()
    make_checkpoint("lora_searched", tuner, config.model, config.seed, artifacts=artifacts, folder=with_tuner)
    metrics = read_json(with_tuner / "metrics.json")
    assert (metrics["dev_loss"], metrics["dev_exact"]) == (best.dev_loss, best.dev_exact)


def space_names(space: dict[str, Any]) -> list[str]:
    return [name if name != "adapter" else "adapter.r" for name in space]


@pytest.mark.heavy
def test_more_trials_go_on_and_the_same_seed_gives_the_same(
    artifacts: Path, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = search("lora", settings(RATES, trials=5, startup_trials=2), artifacts=artifacts)
    expected = timeless(at_once)
    at_once.rename(tmp_path / "at_once")
    search("lora", settings(RATES, trials=2, startup_trials=2), artifacts=artifacts)
    begun = (artifacts / "search/lora/trials.jsonl").read_text()
    in_parts = search("lora", settings(RATES, trials=5, startup_trials=2), artifacts=artifacts)
    assert (in_parts / "trials.jsonl").read_text().startswith(begun), "no trial was run again"
    assert timeless(in_parts) == expected
    assert (in_parts / "best.yaml").read_text() == (tmp_path / "at_once" / "best.yaml").read_text()
    other = dataclasses.replace(settings(RATES, trials=2, startup_trials=2), seed=1)
    search("lora", other, artifacts=artifacts, restart=True)
    assert timeless(in_parts)[1]["settings"] != expected[1]["settings"]


@pytest.mark.heavy
def test_a_hopeless_trial_is_ended(artifacts: Path, settings: Any) -> None:
    space = {"learning_rate": {"choices": [0.02, 0.01, 1e-5, 1.1e-5, 1.2e-5]}}
    config = settings(space, tuned={"epochs": 4}, trials=5, startup_trials=2, warmup_evaluations=1)
    trials = trials_of(search("lora", config, artifacts=artifacts))
    states = {trial.settings["learning_rate"]: trial for trial in trials}
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned
    assert all(trial.number >= 2 for trial in pruned), "the first ones run to their end"
    for trial in pruned:
        assert 2 <= len(trial.values) < 8, "one evaluation is never enough to end a trial"
        assert trial.steps == 3 * len(trial.values)
    assert states[0.02].state == "complete"
    unpruned = settings(space, tuned={"epochs": 4}, trials=5, startup_trials=2, pruner="none")
    folder = search("lora", unpruned, artifacts=artifacts, restart=True)
    assert {trial.state for trial in trials_of(folder)} == {"complete"}
    assert read_json(folder / "search.json", SearchRecord).importance == {"learning_rate": 1.0}


@pytest.mark.heavy
def test_a_space_that_is_used_up_ends_the_search(
    artifacts: Path, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    config = settings({"epochs": {"choices": [1, 2]}}, tuned={"epochs": 2}, trials=9)
    trials = trials_of(search("lora", config, artifacts=artifacts))
    assert [trial.settings["epochs"] for trial in trials] == [2, 1]
    assert "all settings in the space were tried, in 2 trials" in caplog.text


@pytest.mark.heavy
def test_no_trial_begins_when_time_is_up(artifacts: Path, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder = search("lora", settings(RATES, trials=9, minutes=1e-4), artifacts=artifacts)
    assert len(trials_of(folder)) == 1
    assert "time is up after 1 of 9 trials: run the same again to continue" in caplog.text


@pytest.mark.heavy
def test_training_that_diverges_is_a_bad_trial_and_not_the_end(artifacts: Path, settings: Any) -> None:
    config = settings({"adapter": {"alpha": {"choices": [8, 1e38]}}}, trials=2)
    own, diverged = trials_of(search("lora", config, artifacts=artifacts))
    assert (own.state, diverged.state, diverged.value) == ("complete", "diverged", None)
    assert "adapter" in (artifacts / "search/lora/best.yaml").read_text()


@pytest.mark.heavy
def test_trials_of_another_question_are_not_mixed_in(artifacts: Path, settings: Any) -> None:
    search("lora", settings(RATES, trials=1), artifacts=artifacts)
    wider = {"learning_rate": {**RATES["learning_rate"], "high": 0.2}}
    with pytest.raises(RecordError, match=r"search/lora holds 1 trials of a search that differs in space: go back"):
        search("lora", settings(wider, trials=1), artifacts=artifacts)
    search("lora", settings(wider, trials=2), artifacts=artifacts, restart=True)
    assert len(trials_of(artifacts / "search/lora")) == 2


def test_a_second_search_at_the_same_time_is_refused(artifacts: Path, settings: Any) -> None:
    from filelock import FileLock

    (STATE / "search/lora").mkdir(parents=True)
    with FileLock(STATE / "search/lora/lock"), pytest.raises(RecordError, match="another search of lora is running"):
        search("lora", settings(RATES, trials=1), artifacts=artifacts)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("base", "base has no tuner to search settings for; known: lora"),
        ("lara", "no checkpoint 'lara' in params.yaml; did you mean 'lora'"),
    ],
)
def test_a_checkpoint_without_a_tuner_is_refused(artifacts: Path, settings: Any, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(name, settings(RATES), artifacts=artifacts)


def test_missing_rows_are_named(artifacts: Path, settings: Any) -> None:
    (artifacts / "training_set" / "lora" / "dev.jsonl").unlink()
    with pytest.raises(RecordError, match=r"dev\.jsonl is missing: run `whether run`"):
        search("lora", settings(RATES), artifacts=artifacts)


def work(artifacts: Path, config: Config) -> None:
    """What the process does that is to be killed."""
    prepare_process()
    os.chdir(artifacts.parent)
    search("lora", config, artifacts=Path("artifacts"))


def sealed_since(moment: float) -> bool:
    """Whether a trial has a checkpoint to go on from that was sealed after a moment."""
    for seal in STATE.glob("search/lora/trial-*/checkpoint-*/sealed"):
        with contextlib.suppress(FileNotFoundError):  # a trial that ends leaves none
            if seal.stat().st_mtime > moment:
                return True
    return False


@pytest.mark.heavy
def test_killed_at_any_moment_it_tries_the_same(artifacts: Path, settings: Any, tmp_path: Path) -> None:
    """Killed where a checkpoint has just been sealed, and at moments that come at random."""
    config = settings(RATES, tuned={"epochs": 4}, trials=4, startup_trials=2)
    began = time.perf_counter()
    undisturbed = search("lora", config, artifacts=artifacts).rename(tmp_path / "undisturbed")
    a_trial = (time.perf_counter() - began) / 4
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whether.search.trial", "peft", "matplotlib.figure", "optuna"])
    moments, killed, resumed = random.Random(0), 0, 0
    for attempt in range(5):
        process = context.Process(target=work, args=(artifacts, config))
        started = time.time()
        process.start()
        if attempt < 4:
            while process.is_alive() and not sealed_since(started):
                time.sleep(0.001)
            if attempt % 2:
                process.join(moments.uniform(0.0, a_trial))
            if process.is_alive():
                os.kill(process.pid, signal.SIGSTOP)
            resumed += sealed_since(0)
            process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert process.exitcode == 0
    assert killed >= 2
    assert resumed >= 1, "at least one trial went on from the middle"
    assert timeless(artifacts / "search/lora") == timeless(undisturbed)
    assert (artifacts / "search/lora/best.yaml").read_bytes() == (undisturbed / "best.yaml").read_bytes()
