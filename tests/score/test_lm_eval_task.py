"""The exported task gives stock lm-eval the arm's own score."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from arms import run_arm
from references import model_config

from whether.config import PromptConfig, ServingConfig
from whether.records import Example, Prediction, Task, read_json, read_jsonl, write_jsonl
from whether.score.lm_eval_task import export

MODEL = model_config()
TEXT_TASK = Task(
    name="echo", output="text", metric="exact_match", instruction="Repeat.", input_template="", labels=[], schema=None,
    answer_pattern=None, max_new_tokens=6,
)  # fmt: skip


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, as the repository's root is for a user."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_here(strategy: str, **arguments: int) -> Path:
    """Run the arm `base-<strategy>` below the current folder and return where it wrote."""
    name = f"base-{strategy}"
    folder = Path("artifacts/score") / name
    prompt = PromptConfig(strategy={"_target_": f"whether.prompt.strategies.{strategy}", **arguments})
    serving = ServingConfig(requests=2, warmup=0)
    run_arm("base", prompt, MODEL, serving, 0, name=name, artifacts=Path("artifacts"), folder=folder)
    return folder


def run_stock_lm_eval(folder: Path, task: str) -> float:
    """Run the command that the module's docstring gives, in the current folder, and return its score."""
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "1"]
    command += ["--model_args", "pretrained=artifacts/model,dtype=float32"]
    command += ["--include_path", f"{folder}/lm_eval", "--tasks", task, "--output_path", "out"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(Path("cache").resolve())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    [report] = Path("out").rglob("results_*.json")
    results = json.loads(report.read_text())["results"][task]
    return next(value for key, value in results.items() if key.startswith("exact_match,"))


def test_rows_keep_their_type_and_the_yaml_names_their_final_place(tmp_path: Path) -> None:
    """A reader of JSON would make dates of these targets."""
    import datasets

    lines = [
        Prediction("1", "test", "", None, "2026-01-31", 0.0, False, "2026-01-01", 1, 0, 1, 0.1),
        Prediction("2", "test", "", None, " 007 ", 0.0, False, "{{ 1 }}", 1, 0, 1, 0.1),
    ]
    export(TEXT_TASK, "base-knn", lines, tmp_path / "temporary", Path("artifacts/score/base-knn/lm_eval"))
    text = (tmp_path / "temporary" / "echo_base-knn.yaml").read_text()
    body, _, hook = text.rpartition("process_results: ")
    assert hook == "!function whether.outputs.kinds.lm_eval_match\n"
    description = yaml.safe_load(body)
    assert description["task"] == "echo_base-knn"
    assert description["dataset_kwargs"] == {"data_files": {"test": "artifacts/score/base-knn/lm_eval/test.parquet"}}
    datasets.disable_progress_bars()
    file = str(tmp_path / "temporary" / "test.parquet")
    rows = datasets.load_dataset("parquet", data_files={"test": file}, cache_dir=str(tmp_path / "cache"))["test"]
    assert rows["target"][:] == ["2026-01-31", "007"]
    assert rows["prompt"][:] == ["2026-01-01", "{{ 1 }}"]


@pytest.mark.heavy
def test_stock_lm_eval_gives_the_score_of_a_text_arm(make_artifacts, tiny_model: Path, in_folder: Path) -> None:
    """A random model's own outputs serve as targets of every second row, so that the score is one half."""
    examples = [Example(f"r{number}", {"text": f"word {number}"}, "?") for number in range(24)]
    make_artifacts(tiny_model, TEXT_TASK, examples)
    predictions = read_jsonl(run_here("zero_shot") / "predictions.jsonl", Prediction)
    answers = [line.answer for line in predictions if line.split == "test"]
    targets = [
        replace(example, target=answer if number % 2 and answer else "?")
        for number, (example, answer) in enumerate(zip(examples[16:], answers, strict=True))
    ]
    write_jsonl(Path("artifacts/prepare/test.jsonl"), targets)
    folder = run_here("zero_shot")
    score = read_json(folder / "metrics.json")["test"]["exact_match"]
    assert 0.2 < score < 0.8
    assert run_stock_lm_eval(folder, "echo_base-zero_shot") == score


def intents(label_task: Task, kind: str) -> tuple[Task, list[Example]]:
    """A task of three intents, asked for as labels or as JSON, with 20 examples a split."""
    things = ["jazz", "rock", "the new album of Adele", "something by Bach", "my workout list"]
    towns = ["Paris", "Oslo", "Lima", "Cairo", "Perth"]
    texts = [(f"play {thing}", "play_music") for thing in things]
    texts += [(f"will it rain in {town}", "get_weather") for town in towns]
    texts += [(f"rate {thing} four stars", "rate_book") for thing in [*towns, *things]]
    labels = ["play_music", "get_weather", "rate_book"]
    instruction = f"Predict the intent: {', '.join(labels)}. Answer with the intent only."
    task = replace(label_task, labels=labels, instruction=instruction, max_new_tokens=8)
    examples = [Example(f"r{number}", {"text": text}, label) for number, (text, label) in enumerate(3 * texts)]
    if kind == "label":
        return task, examples
    schema = {"type": "object", "properties": {"intent": {"enum": labels}}, "required": ["intent"]}
    instruction += ' Answer with JSON, like {"intent": "rate_book"}.'
    task = replace(task, output="json", metric="exact_match", labels=[], schema=schema, max_new_tokens=16)
    return replace(task, instruction=instruction), [
        replace(example, target=json.dumps({"intent": example.target})) for example in examples
    ]


@pytest.mark.real
@pytest.mark.parametrize("kind", ["label", pytest.param("json", marks=pytest.mark.slow)])
def test_stock_lm_eval_gives_the_score_of_an_arm_of_the_real_model(
    kind: str, real_model: Path, make_artifacts, label_task: Task, in_folder: Path
) -> None:
    task, examples = intents(label_task, kind)
    make_artifacts(real_model, task, examples)
    folder = run_here("few_shot", examples=3)
    metrics = read_json(folder / "metrics.json")["test"]
    score = metrics["accuracy" if kind == "label" else "exact_match"]
    assert 0 < score < 1
    assert run_stock_lm_eval(folder, f"{task.name}_base-few_shot") == score
