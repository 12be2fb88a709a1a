"""What a checkpoint is tuned on: the very messages that the arm with the same prompt asks."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_tuner import tuner

from whether.chat.messages import zero_shot_messages
from whether.config import PromptConfig
from whether.errors import ConfigError, DataError
from whether.prompt.build import build_prompt
from whether.prompt.training import training_format, write_training_set
from whether.records import Message, TrainingExample, TrainingSet, read_json, read_jsonl, write_json, write_jsonl

ROOT = Path(__file__).parents[2]

STRATEGIES = "whether.prompt.strategies"
FEW_SHOT = PromptConfig(strategy={"_target_": f"{STRATEGIES}.few_shot", "examples": 6})
KNN = PromptConfig(
    strategy={"_target_": f"{STRATEGIES}.knn", "examples": 3, "instruction": "Say {{ labels | join('/') }}."}
)
JSON = replace(FEW_SHOT, decoding={"_target_": "whether.outputs.decoding.json_answer"})


@pytest.mark.parametrize("prompt", [FEW_SHOT, KNN, JSON], ids=["few_shot", "knn", "json"])
def test_unseen_examples_are_asked_as_the_arm_asks_them(prompt, label_task, examples) -> None:
    pool, unseen = examples[:20], examples[20:]
    lesson = training_format(prompt, label_task, pool, 0, "here")
    strategy, decoding = build_prompt("it", prompt, label_task, pool, 0)
    for example in unseen:
        messages, answer = lesson(example)
        assert messages == strategy(example)
        assert decoding.read_text(answer).answer == example.target or prompt is JSON
        assert answer == decoding.format_target(example.target)


@pytest.mark.parametrize("prompt", [FEW_SHOT, KNN], ids=["few_shot", "knn"])
def test_an_example_is_never_its_own_demonstration(prompt, label_task, examples) -> None:
    pool = examples[:8]
    lesson = training_format(prompt, label_task, pool, 0, "here")
    lengths = []
    for example in pool:
        *before, asked = lesson(example)[0]
        assert asked == Message("user", example.inputs["text"])
        assert asked not in before
        assert [one.role for one in before[1:]] == ["user", "assistant"] * (len(before[1:]) // 2)
        lengths.append(len(before[1:]) // 2)
    assert set(lengths) == ({5, 6} if prompt is FEW_SHOT else {3})


def test_what_cannot_be_learnt_is_refused(label_task, examples, tmp_path) -> None:
    thought = {"_target_": "whether.outputs.decoding.greedy", "answer_prefix": "So:", "max_new_tokens": 50}
    with pytest.raises(ConfigError, match=r"here: what the model should write before 'So:' is not known"):
        training_format(replace(FEW_SHOT, decoding=thought), label_task, examples, 0, "here")
    (tmp_path / "a.md").write_text("A document with some words in it.")
    passages = PromptConfig(strategy={"_target_": f"{STRATEGIES}.retrieval", "folder": str(tmp_path)})
    with pytest.raises(ConfigError, match="here: tuning with passages"):
        training_format(passages, label_task, examples, 0, "here")
    broken = replace(KNN, strategy={**KNN.strategy, "instruction": "a\n{{ nothing }}"})
    with pytest.raises(ConfigError, match=r"here\.strategy\.instruction, line 2: .*nothing"):
        training_format(broken, label_task, examples, 0, "here")


def test_the_stage_writes_what_is_asked_and_learnt(label_task, examples, tmp_path) -> None:
    prepared = tmp_path / "prepare"
    write_json(prepared / "task.json", label_task)
    for split, rows in (("train", examples[:20]), ("dev", examples[20:])):
        write_jsonl(prepared / f"{split}.jsonl", rows)
    for name, prompt in (("plain", None), ("json", JSON)):
        write_training_set(name, replace(tuner(), prompt=prompt), 0, prepared=prepared, folder=tmp_path / name)
    assert read_json(tmp_path / "plain/training_set.json", TrainingSet).labels == label_task.labels
    row, asked_as_json = (read_jsonl(tmp_path / name / "dev.jsonl", TrainingExample)[0] for name in ("plain", "json"))
    assert row.prompt == zero_shot_messages(label_task, examples[20])
    assert (row.answer, row.label) == (examples[20].target, examples[20].target)
    assert json.loads(asked_as_json.answer) == {"answer": examples[20].target}
    assert asked_as_json.label == examples[20].target
    assert len(asked_as_json.prompt) == 1 + 2 * 6 + 1
    line = json.loads((tmp_path / "plain/dev.jsonl").read_text().splitlines()[0])
    assert line["completion"] == [{"role": "assistant", "content": examples[20].target}], "TRL's format"
    write_training_set("base", None, 0, prepared=prepared, folder=tmp_path / "base")
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["training_set.json"]
    write_jsonl(prepared / "dev.jsonl", [])
    with pytest.raises(DataError, match=r"dev\.jsonl has no examples"):
        write_training_set("plain", tuner(), 0, prepared=prepared, folder=tmp_path / "none")


def test_the_files_are_the_same_in_every_process(label_task, examples, tmp_path) -> None:
    """A file that changed by chance would train a checkpoint again."""
    prepared = tmp_path / "prepare"
    write_json(prepared / "task.json", label_task)
    for split, rows in (("train", examples[:20]), ("dev", examples[20:])):
        write_jsonl(prepared / f"{split}.jsonl", rows)
    program = (
        "import sys; from pathlib import Path; from dataclasses import replace; from tiny_tuner import tuner\n"
        "from whether.config import PromptConfig; from whether.prompt.training import write_training_set\n"
        "prompt = PromptConfig(strategy={'_target_': 'whether.prompt.strategies.knn', 'examples': 3})\n"
        "prepared, folder = map(Path, sys.argv[1:])\n"
        "write_training_set('lora', replace(tuner(), prompt=prompt), 0, prepared=prepared, folder=folder)"
    )
    written = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        subprocess.run([sys.executable, "-c", program, str(prepared), str(folder)], env=environment, check=True)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert written[0].keys() == {"training_set.json", "train.jsonl", "dev.jsonl"}
