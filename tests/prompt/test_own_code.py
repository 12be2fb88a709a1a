"""What is wrong in a user's own strategy, kind of output or tuner is one error with its setting, file and line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_tuner import tuner

from whether.config import PromptConfig, build
from whether.errors import ConfigError
from whether.finetune.finetune import require_trainable
from whether.outputs.kinds import answer_parser
from whether.prompt.build import build_prompt
from whether.prompt.training import write_training_set
from whether.records import Example, Task, write_json, write_jsonl

STRATEGIES = """
from whether.chat.messages import user_message
from whether.records import Message

def nothing(task, pool, seed):
    pass

def messages(task, pool, seed):
    return [Message("user", "hello")]

def text(task, pool, seed):
    return lambda example: "hello"

def empty(task, pool, seed):
    return lambda example: []

def dicts(task, pool, seed):
    return lambda example: [{"role": "user", "content": "hello"}]

def role(task, pool, seed):
    return lambda example: [Message("robot", "hello")]

def number(task, pool, seed):
    return lambda example: [Message("user", 5)]

def typo(task, pool, seed):
    return lambda example: [Message("user", example.nope)]

def raises(task, pool, seed):
    raise ValueError("pool is too small")

def two(task, pool):
    return lambda example: [user_message(task, example)]

def good(task, pool, seed):
    return lambda example: [user_message(task, example)]
"""
KINDS = """
from whether.outputs.output import OutputKind

class Rating(OutputKind):
    def __init__(self, task):
        self.task = task

    def parse(self, text):
        return int(text)

class Rounded(Rating):
    def parse(self, text):
        return 5

class Broken(OutputKind):
    def __init__(self, task):
        self.lowest = task.nope

    def parse(self, text):
        return text
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_strategies.py").write_text(STRATEGIES)
    (tmp_path / "own_kinds.py").write_text(KINDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "returned None: expected a function of an example"),
        ("messages", "expected a function of an example that returns its messages"),
        ("text", "gave 'hello' for example '1': expected a list of messages"),
        ("empty", r"gave \[\] for example '1': expected a list of messages, the question last"),
        ("dicts", r"expected whether.records.Message\(role, content\)"),
        ("role", "the role one of system, user, assistant"),
        ("number", "the content a text"),
        ("typo", "failed .own_strategies.py, line 27.: AttributeError: .* no attribute 'nope'"),
        ("raises", "failed .own_strategies.py, line 30.: ValueError: pool is too small"),
        ("two", "TypeError: two.. takes 2 positional arguments but 3 were given"),
    ],
)
def test_a_strategy_that_is_wrong_is_one_error(own: Path, label_task: Task, name: str, message: str) -> None:
    prompt = PromptConfig(strategy={"_target_": f"own_strategies.{name}"})
    with pytest.raises(ConfigError, match=rf"conf/prompt/mine.yaml: strategy: own_strategies.{name} .*{message}"):
        build_prompt("mine", prompt, label_task, [], 0)[0](Example("1", {"text": "hello"}, "tech"))


def test_a_strategy_that_is_right_is_left_alone(own: Path, label_task: Task) -> None:
    strategy, _ = build_prompt("mine", PromptConfig(strategy={"_target_": "own_strategies.good"}), label_task, [], 0)
    assert [message.role for message in strategy(Example("1", {"text": "hello"}, "tech"))] == ["user"]


def test_a_strategy_that_a_tuner_names_is_checked_as_well(
    own: Path, label_task: Task, examples: list[Example], tmp_path: Path
) -> None:
    for split in ("train", "dev"):
        write_jsonl(tmp_path / f"prepare/{split}.jsonl", examples[:4])
    write_json(tmp_path / "prepare/task.json", label_task)
    settings = replace(tuner(), prompt=PromptConfig(strategy={"_target_": "own_strategies.typo"}))
    place = r"^conf/checkpoint/mine.yaml: tuner.prompt.strategy: own_strategies.typo failed .own_strategies.py, line 27"
    with pytest.raises(ConfigError, match=place):
        write_training_set("mine", settings, 0, prepared=tmp_path / "prepare", folder=tmp_path / "made")


def parser(label_task: Task, name: str) -> Callable[[str], str | None]:
    settings = {"_target_": f"own_kinds.{name}"}
    task = Task(**{**vars(label_task), "output": "rating", "output_settings": settings, "labels": []})
    return answer_parser(task)


def test_a_kind_of_output_that_cannot_read_an_answer_is_one_error(own: Path, label_task: Task) -> None:
    with pytest.raises(ConfigError, match=r"conf/output/rating.yaml: own_kinds.Rating.parse failed .*invalid literal"):
        parser(label_task, "Rating")("five")
    with pytest.raises(ConfigError, match=r"own_kinds.Rounded.parse returned 5 for the output 'five': expected a text"):
        parser(label_task, "Rounded")("five")
    with pytest.raises(ConfigError, match=r"own_kinds.Broken failed .own_kinds.py, line 17.: AttributeError"):
        parser(label_task, "Broken")


def test_a_tuner_that_returns_nothing_to_train_is_one_error(own: Path) -> None:
    import torch

    class Model(torch.nn.Linear):
        def get_output_embeddings(self) -> Any:
            return self

    with pytest.raises(ConfigError, match=r"my.tuner returned NoneType: expected the model, with requires_grad"):
        require_trainable(None, "my.tuner")
    with pytest.raises(ConfigError, match=r"no weight has requires_grad"):
        require_trainable(Model(2, 2).requires_grad_(False), "my.tuner")
    require_trainable(Model(2, 2), "my.tuner")


def test_an_error_of_this_project_is_not_taken_for_the_users() -> None:
    with pytest.raises(IndexError):  # an error that was never raised has no place
        build({"_target_": "whether.config.components._place"}, ValueError("x"), where="x")
