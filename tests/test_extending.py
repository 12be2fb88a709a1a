"""docs/extending.md, word for word: each example is written to files, composed, checked and run."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pandas
import pytest
import yaml
from arms import run_arm

from tests.compare.synthetic_study import compare_and_report, write_study
from tests.retrain.conftest import evidence
from whether.baseline.baseline import make_model, run_baseline
from whether.config import CONF, Config, build, check, compose
from whether.metrics.metric import quality_metrics
from whether.outputs.kinds import lm_eval_match, output_of
from whether.outputs.output import score_answer
from whether.prepare.prepare import prepare
from whether.records import (
    Adherence,
    BaselineRow,
    BaselineTask,
    Example,
    Prediction,
    Task,
    Verdict,
    output_folder,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from whether.retrain.triggers import ObservedRow
from whether.score.metrics import split_metrics
from whether.tracking.names import measured

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/extending.md").read_text()
BLOCKS = re.findall(r"```(?:yaml|python)\n# (\S+)\n(.*?)```", TEXT, re.DOTALL)
FILES = dict(BLOCKS)
COMMANDS = re.findall(r"^whether (?:run|retrain run --dry-run) (.+)$", TEXT, re.MULTILINE)


@pytest.fixture
def extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with conf/ and every file of the document."""
    shutil.copytree(ROOT / CONF, tmp_path / "conf")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def composed(command: str) -> Config:
    return check(yaml.safe_load(compose(shlex.split(command), Path("conf"))))


def test_every_section_is_covered() -> None:
    sections = re.findall(r"^## .*", TEXT, re.MULTILINE)
    assert len(sections) == len(COMMANDS) == 11
    assert len(FILES) == 19


@pytest.mark.heavy
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_composes(extended: Path, command: str) -> None:
    composed(command)


@pytest.mark.heavy
def test_the_prompt_asks(extended: Path, label_task: Task, examples: list[Example]) -> None:
    config = composed("prompt=[zero_shot,polite]")
    strategy = build(config.prompts["polite"].strategy, label_task, examples, 0)
    system, user = strategy(examples[0])
    assert system.content.startswith("You are a librarian. Which queue?")
    assert user.content == examples[0].inputs["text"]


TOPICS = ["refund", "Delivery,billing", " refund, delivery ", "billing"]
"""Targets as people write them."""


@pytest.mark.heavy
def test_the_output_kind_goes_through_every_stage(extended: Path, tiny_model: Path) -> None:
    """Rows, an arm with its adherence and lm-eval's task, the verdict and the report: one class, one file, no edit."""
    texts = [f"message {row * 7919 % 1000} says word {row}" for row in range(80)]
    rows = [f'{text},"{TOPICS[row % 4]}"\n' for row, text in enumerate(texts)]
    Path("topics.csv").write_text("text,topics\n" + "".join(rows))
    config = composed("task=topics task.inputs={message:text} task.near_duplicate=1.0 curve=none")
    settings = {"_target_": "my_outputs.MultiLabel", "labels": ["billing", "delivery", "refund"]}
    assert config.task.output_settings == settings
    artifacts = Path("artifacts")
    with output_folder(artifacts / "prepare") as folder:
        prepare(config.task, 0, model_folder=tiny_model, folder=folder)
    task = read_json(artifacts / "prepare/task.json", Task)
    assert (task.output, task.output_settings, task.metric, task.labels) == ("multi_label", settings, None, [])
    test = read_jsonl(artifacts / "prepare/test.jsonl", Example)
    assert {example.target for example in test} == {"refund", "billing, delivery", "delivery, refund", "billing"}

    kind = output_of(task)
    assert score_answer(kind, kind.parse("Refund, delivery\nbecause"), "delivery, refund") == 1.0
    assert kind.parse("refund, other") is kind.parse("") is None
    assert kind.parse_json('{"answer": "delivery, billing"}') == "billing, delivery"

    (artifacts / "model").symlink_to(tiny_model)
    write_json(artifacts / "finetune/base/checkpoint/checkpoint.json", {"kind": "base"})
    arm = artifacts / "score/base-few_shot"
    model = replace(config.model, device="cpu", threads=1)
    with output_folder(arm) as folder:
        run_arm(
            "base",
            config.prompts["few_shot"],
            model,
            config.serving,
            0,
            name=arm.name,
            artifacts=artifacts,
            folder=folder,
        )
    found = read_json(arm / "adherence.json", Adherence).violations
    assert all(violation.kind.startswith("no labels with commas between them") for violation in found)
    row = pandas.read_parquet(arm / "lm_eval/test.parquet").iloc[0]
    assert lm_eval_match(row, [row["target"].upper()]) == {"exact_match": 1.0}


@pytest.mark.heavy
def test_the_output_kind_gets_a_verdict(extended: Path) -> None:
    artifacts = write_study(Path("artifacts"), output="text")
    config = composed("task=topics baseline=[]")
    task = read_json(artifacts / "prepare/task.json", Task)
    own = replace(task, output=config.task.output, output_settings=config.task.output_settings)
    write_json(artifacts / "prepare/task.json", own)
    compare_and_report(config, artifacts, Path("verdict"))
    assert read_json(Path("verdict/verdict.json"), Verdict).metric == "exact_match"
    assert Path("verdict/report.html").is_file()


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft calls it
def test_the_tuner_has_something_to_train(extended: Path, tiny_model: Path, label_task: Task) -> None:
    from transformers import AutoModelForCausalLM

    config = composed("checkpoint=[base,lora,attention_only]")
    tuner = config.checkpoints["attention_only"].tuner
    assert tuner is not None
    assert tuner.epochs == config.checkpoints["lora"].tuner.epochs  # type: ignore[union-attr]
    tuned = build(tuner.adapter, AutoModelForCausalLM.from_pretrained(tiny_model), label_task)
    trained = {name for name, parameter in tuned.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("q_proj" in name or "v_proj" in name for name in trained)


@pytest.mark.heavy
def test_the_baseline_is_fitted_and_read_again(extended: Path, tmp_path: Path) -> None:
    config = composed(next(command for command in COMMANDS if "word_votes" in command))
    assert config.baseline_names == ["linear", "word_votes"]
    rows = [BaselineRow(str(number), f"play song {number}" if number % 2 else f"rain on day {number}", target)
            for number in range(20) for target in [("weather", "music")[number % 2]]]  # fmt: skip
    for split in ("train", "dev", "test"):
        write_jsonl(tmp_path / "data" / f"{split}.jsonl", rows)
    write_json(tmp_path / "data" / "task.json", BaselineTask("mine", "label", balanced=False))
    settings = config.baselines["word_votes"]
    run_baseline("word_votes", settings, 0, config.serving, data=tmp_path / "data", folder=tmp_path / "made")
    again = make_model(settings.model, "")
    again.load(tmp_path / "made/checkpoint")
    assert again.answer(["a song", "Rain", "nothing known"]) == ["music", "weather", "weather"]
    assert len(read_jsonl(tmp_path / "made/generations.jsonl")) == 40


def f1_by_hand(row: Prediction) -> float:
    """Token F1 of an answer that is the target, or the target without its last words."""
    answered, asked = len((row.answer or "").split()), len(row.target.split())
    return 2 * answered / (answered + asked)


@pytest.mark.heavy
def test_the_metric_decides_limits_and_is_shown(extended: Path) -> None:
    command = next(command for command in COMMANDS if "token_f1" in command).replace(
        "token_f1.min=0.1", "token_f1.min=0.9"
    )
    config = composed(f"{command} policy.resamples=200 curve=none baseline=[]")
    artifacts = write_study(extended / "artifacts", output="text", sizes=(40, 30, 60))
    write_json(
        artifacts / "prepare/task.json", replace(read_json(artifacts / "prepare/task.json", Task), metric="token_f1")
    )
    answers = {}
    for file in (artifacts / "score").glob("*/predictions.jsonl"):  # wrong answers have four words of the target's six
        rows = read_jsonl(file, Prediction)
        rows = [row if row.score else replace(row, answer=row.target.rsplit(" ", 2)[0]) for row in rows]
        answers[file.parent.name] = rows
        write_jsonl(file, rows)
    compare_and_report(config, artifacts, extended)
    verdict = read_json(extended / "verdict.json", Verdict)
    arm, rows = verdict.arms["lora-zero_shot"], answers["lora-zero_shot"]
    assert list(verdict.metrics) == ["exact_match", "token_f1"]
    assert {row.metric for row in verdict.comparisons} == {verdict.metric} == {"token_f1"}
    found = arm.metrics["token_f1"]
    assert found.value == pytest.approx(fmean(f1_by_hand(row) for row in rows if row.split == "test"))
    assert found.ci_low < found.value < found.ci_high
    assert arm.dev["token_f1"] == pytest.approx(fmean(f1_by_hand(row) for row in rows if row.split == "dev"))
    task = read_json(artifacts / "prepare/task.json", Task)
    of_split = split_metrics(task, rows, quality_metrics(config.metrics, "text"))
    assert of_split["token_f1"] == pytest.approx(fmean(map(f1_by_hand, rows)))
    assert verdict.aspects[0].metrics == ["exact_match", "token_f1"]
    assert "token F1" in (extended / "report.html").read_text()
    assert "token_f1" in (extended / "leaderboard.csv").read_text()
    assert "with token F1" in verdict.reasons[0]
    assert {"test/token_f1", "test/token_f1_ci_low"} <= measured(arm.metrics).keys()
    assert verdict.excluded.keys() == {"base-zero_shot", "base-few_shot"}
    assert "has token F1 of" in verdict.excluded["base-zero_shot"]
    assert "at least 90.0% is required" in verdict.excluded["base-zero_shot"]


@pytest.mark.heavy
def test_the_model_source_fills_a_folder(extended: Path, tiny_model: Path, tmp_path: Path) -> None:
    config = composed(f"model=copied model.source.origin={tiny_model}")
    build(config.model.source, tmp_path / "made")
    assert (tmp_path / "made/model.safetensors").exists()


@pytest.mark.heavy
def test_the_experiment_changes_what_it_says(extended: Path) -> None:
    config = composed("experiment=more_demonstrations")
    assert config.prompts["knn"].strategy["examples"] == 16
    assert config.checkpoints["lora"].tuner.epochs == 5  # type: ignore[union-attr]


@pytest.mark.heavy
def test_the_trigger_fires_on_long_rows(extended: Path) -> None:
    config = composed("trigger=[long_inputs]")
    short, long = ObservedRow("a few words", "x", 1, 1, "s"), ObservedRow("word " * 201, "x", 1, 1, "l")
    known = evidence(config, [short] * 9, [])
    assert set(config.retrain.triggers) == {"long_inputs"}
    trigger = config.retrain.triggers["long_inputs"]
    assert not build(trigger, known).fired
    assert build(trigger, replace(known, items=[short] * 9 + [long])).reason.startswith("10% of 10 new rows")
