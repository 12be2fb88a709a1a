"""A search for a prompt on dev: what it tries, what it keeps, what it says."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from whether.config import CONF, Config, PromptConfig, check, compose
from whether.errors import ConfigError, RecordError
from whether.optimise.best import prompt_yaml, write_prompt
from whether.optimise.candidates import manual_prompts, sample_candidates
from whether.optimise.halving import Rung, evaluations, max_candidates, rungs, stratified_order
from whether.optimise.journal import ScoredExample, ScoreJournal
from whether.optimise.optimise import optimise
from whether.prompt.strategies import few_shot
from whether.records import CandidateRecord, Example, OptimiseRecord, Task, read_json, read_jsonl

ROOT = Path(__file__).parents[2]
Settings = Callable[..., Config]


def test_rounds_double_the_examples_and_keep_a_share() -> None:
    planned = rungs(20, 100, first=16, keep=0.4)
    assert planned == [Rung(20, 16), Rung(8, 32), Rung(4, 64), Rung(2, 100)]
    assert evaluations(planned) == 20 * 16 + 8 * 16 + 4 * 32 + 2 * 36
    assert rungs(5, 10, first=16, keep=0.5) == [Rung(5, 10)]
    assert rungs(1, 40, first=16, keep=0.5) == [Rung(1, 16), Rung(1, 32), Rung(1, 40)]


def test_a_budget_lowers_the_number_of_candidates() -> None:
    assert max_candidates(20, 100, None, first=16, keep=0.4) == 20
    count = max_candidates(20, 100, 500, first=16, keep=0.4)
    assert evaluations(rungs(count, 100, first=16, keep=0.4)) <= 500
    assert evaluations(rungs(count + 1, 100, first=16, keep=0.4)) > 500
    assert max_candidates(20, 100, 50, first=16, keep=0.4) == 0


def test_every_beginning_of_the_order_is_balanced(examples: list[Example]) -> None:
    skewed = [example for example in examples if example.target != "tech"] + examples[1:2]
    ordered = stratified_order(examples, 0)
    assert sorted(ordered, key=str) == sorted(examples, key=str)
    assert {example.target for example in ordered[:3]} == {"billing", "tech", "other"}
    assert {example.target for example in stratified_order(skewed, 3)[:3]} == {"billing", "tech", "other"}
    assert stratified_order(examples, 0) == ordered != stratified_order(examples, 1)


def test_candidates_are_of_every_kind_and_follow_the_seed(settings: Settings, label_task: Task) -> None:
    config = settings().optimise
    first = [one.name for one in sample_candidates(config, label_task, 12, 0, 9)]
    assert first == [one.name for one in sample_candidates(config, label_task, 12, 0, 9)]
    assert first != [one.name for one in sample_candidates(config, label_task, 12, 1, 9)]
    assert [sum(word in name for name in first) for word in ("no examples", "draw", "nearest")] == [3, 3, 3]
    text = replace(label_task, output="text", labels=[])
    assert {one.prompt.decoding["_target_"].rsplit(".")[-1] for one in sample_candidates(config, text, 12, 0, 999)} == {
        "constrained"
    }
    assert not any("draw" in one.name for one in sample_candidates(config, label_task, 2, 0, 999))


def test_the_runs_own_prompts_are_those_by_hand(composed: Config) -> None:
    assert [one.name for one in manual_prompts(composed.prompts)] == ["few_shot", "knn"]


def test_another_draw_is_another_set(label_task: Task, examples: list[Example]) -> None:
    plain, zero, one = (
        few_shot(label_task, examples, 0, examples=3, **draw)(examples[9])  # type: ignore[arg-type]
        for draw in ({}, {"draw": 0}, {"draw": 1})
    )
    assert plain == zero != one


@pytest.mark.heavy
def test_a_search_leaves_a_prompt_that_the_pipeline_takes(artifacts: Path, settings: Settings, tmp_path: Path) -> None:
    folder = optimise("base", settings(), artifacts=artifacts)
    record = read_json(folder / "optimise.json", OptimiseRecord)
    candidates = read_jsonl(folder / "candidates.jsonl", CandidateRecord)
    assert (record.candidates, record.dev_examples, record.rungs) == (6, 18, [4, 8, 16, 18])
    assert sum(not one.by_hand for one in candidates) == 6
    assert {one.name for one in candidates if one.by_hand} == {"few_shot", "knn"}
    ended = [one for one in candidates if one.examples == 18]
    assert ended == sorted(ended, key=lambda one: -one.score)
    assert record.best == next(one.name for one in ended if not one.by_hand)
    assert record.difference == record.best_score - max(one.score for one in ended if one.by_hand)
    assert sum(record.answers[record.best]) / 18 == pytest.approx(record.best_score)
    asked = sum(one.examples for one in candidates)
    assert record.evaluations == asked

    values = yaml.safe_load((folder / "best.yaml").read_text())
    assert PromptConfig(**values).search_seconds == pytest.approx(record.seconds, abs=0.1)
    conf = tmp_path / "conf"
    (conf / "prompt").mkdir(parents=True)
    written = write_prompt("base", (folder / "best.yaml").read_text(), conf)
    assert written == conf / "prompt" / "optimised.yaml"
    assert write_prompt("base", (folder / "best.yaml").read_text(), conf) == written
    written.write_text("# mine\n")
    with pytest.raises(RecordError, match=r"optimised\.yaml is there and was not written by a search"):
        write_prompt("base", "x", conf)


@pytest.mark.heavy
def test_the_prompt_file_is_composed_as_any_other(tmp_path: Path, settings: Settings, label_task: Task) -> None:
    import shutil

    shutil.copytree(ROOT / CONF, tmp_path / "conf")
    config = settings().optimise
    record = OptimiseRecord(
        checkpoint="base", key="", task="snips", model="m", seed=0, dev_examples=10, candidates=3, rungs=[10],
        evaluations=30, seconds=12.34, best="", best_score=0.5, by_hand="knn", by_hand_score=0.4, difference=0.1,
    )  # fmt: skip
    for one in sample_candidates(config, label_task, 12, 0, 999):
        from whether.records import to_builtins

        text = prompt_yaml(record, CandidateRecord(one.name, False, to_builtins(one.prompt), 10, 0.5, None))
        assert "knn: 40.0%" in text
        assert yaml.safe_load(text)["strategy"] == one.prompt.strategy
    write_prompt("base", text, tmp_path / "conf")
    composed = check(yaml.safe_load(compose(["prompt=[zero_shot,optimised]"], tmp_path / "conf")))
    assert composed.prompts["optimised"].strategy == one.prompt.strategy
    assert composed.prompts["optimised"].search_seconds == 12.3


@pytest.mark.heavy
def test_what_was_asked_is_not_asked_again(
    artifacts: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    first = optimise("base", settings(), artifacts=artifacts)
    before = {file.name: file.read_bytes() for file in first.iterdir()}
    [journal] = Path(".state/optimise/base").glob("*.jsonl")
    size = journal.stat().st_size
    optimise("base", settings(), artifacts=artifacts)
    assert {file.name: file.read_bytes() for file in first.iterdir()} == before
    assert journal.stat().st_size == size
    more = optimise("base", settings(candidates=7), artifacts=artifacts)
    assert journal.stat().st_size > size
    assert read_json(more / "optimise.json", OptimiseRecord).candidates == 7
    optimise("base", settings(), artifacts=artifacts, restart=True)
    answers = read_json(first / "optimise.json", OptimiseRecord)
    assert answers.best == json.loads(before["optimise.json"])["best"]


def test_a_line_that_a_kill_cut_off_is_asked_again(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    journal = ScoreJournal(file)
    journal.add("a", 1.5, [ScoredExample("x", 1.0, 7), ScoredExample("y", 0.0, None)])
    file.write_text(file.read_text() + '{"candidate": "b", "sec')
    again = ScoreJournal(file)
    assert again.known("a") == {"x": ScoredExample("x", 1.0, 7), "y": ScoredExample("y", 0.0, None)}
    assert (again.known("b"), again.seconds, again.evaluations) == ({}, 1.5, 2)
    again.add("b", 1.0, [ScoredExample("x", 0.5, 1)])
    assert ScoreJournal(file).known("b") == {"x": ScoredExample("x", 0.5, 1)}


@pytest.mark.heavy
def test_when_time_is_up_the_best_goes_to_the_end(artifacts: Path, settings: Settings) -> None:
    folder = optimise("base", settings(minutes=1e-9), artifacts=artifacts)
    candidates = read_jsonl(folder / "candidates.jsonl", CandidateRecord)
    assert [(one.by_hand, one.examples) for one in candidates if not one.by_hand] == [(False, 18)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluations": 3}, "no candidate is left: raise evaluations"),
        ({"examples": [99], "nearest": [99]}, "no candidate is left"),
        ({"instructions": {"mine": "{{ nothing }}"}}, r"line 1 of the instruction: 'nothing' is undefined"),
    ],
)
def test_a_search_that_cannot_be_is_one_clear_error(
    artifacts: Path, settings: Settings, changes: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        optimise("base", settings(**changes), artifacts=artifacts)
    assert not (artifacts / "optimise").exists()


def test_a_checkpoint_that_is_not_there_is_named(artifacts: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"no checkpoint 'lorra' in params\.yaml; did you mean 'lora'"):
        optimise("lorra", settings(), artifacts=artifacts)


@pytest.mark.heavy
@pytest.mark.usefixtures("commands")
def test_the_command_is_killed_and_goes_on(artifacts: Path) -> None:
    overrides = [
        "task=tickets", "model=local", "model.name=tiny", "model.device=cpu",
        "model.dtype=float32", "model.threads=1", "tracking=none",
        "prompts.few_shot.strategy.examples=3", "prompts.knn.strategy.examples=2",
    ]  # fmt: skip
    Path("params.yaml").write_text(compose(overrides, ROOT / CONF))
    command = [
        sys.executable,
        "-m",
        "whether.cli",
        "optimise",
        "first=4",
        "candidates=6",
        "examples=[0,3]",
        "nearest=[2]",
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("round 2"):
            running.send_signal(signal.SIGKILL)
            break
    running.communicate()
    assert not (artifacts / "optimise").exists()
    [journal] = Path(".state/optimise/base").glob("*.jsonl")
    before = journal.read_bytes()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert journal.read_bytes().startswith(before)
    assert "# @package prompts.optimised" in done.stdout
