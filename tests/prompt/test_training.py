"""What a checkpoint is tuned on: the very messages that the arm with the same prompt asks."""

from dataclasses import replace

import pytest

from whether.config import PromptConfig
from whether.errors import ConfigError
from whether.prompt.arm import build_prompt
from whether.prompt.training import training_format
from whether.records import Message

STRATEGIES = "whether.prompt.strategies"
FEW_SHOT = PromptConfig(strategy={"_target_": f"{STRATEGIES}.few_shot", "examples": 6})
KNN = PromptConfig(
    strategy={"_target_": f"{STRATEGIES}.knn", "examples": 3, "instruction": "Say {{ labels | join('/') }}."}
)
JSON = replace(FEW_SHOT, decoding={"_target_": "whether.prompt.answering.json_answer"})


@pytest.mark.parametrize("prompt", [FEW_SHOT, KNN, JSON], ids=["few_shot", "knn", "json"])
def test_unseen_examples_are_asked_as_the_arm_asks_them(prompt, label_task, examples) -> None:
    pool, unseen = examples[:20], examples[20:]
    lesson = training_format(prompt, label_task, pool, 0, "here")
    strategy, decoding = build_prompt("it", prompt, label_task, pool, 0)
    for example in unseen:
        messages, answer = lesson(example)
        assert messages == strategy(example)
        assert decoding.read(answer) == example.target or prompt is JSON
        assert answer == decoding.show(example.target)


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
    thought = {"_target_": "whether.prompt.answering.greedy", "after": "So:", "max_new_tokens": 50}
    with pytest.raises(ConfigError, match=r"here: what the model should write before 'So:' is not known"):
        training_format(replace(FEW_SHOT, decoding=thought), label_task, examples, 0, "here")
    (tmp_path / "a.md").write_text("A document with some words in it.")
    passages = PromptConfig(strategy={"_target_": f"{STRATEGIES}.retrieval", "folder": str(tmp_path)})
    with pytest.raises(ConfigError, match="here: tuning with passages"):
        training_format(passages, label_task, examples, 0, "here")
    broken = replace(KNN, strategy={**KNN.strategy, "instruction": "a\n{{ nothing }}"})
    with pytest.raises(ConfigError, match=r"here\.strategy\.instruction, line 2: .*nothing"):
        training_format(broken, label_task, examples, 0, "here")
