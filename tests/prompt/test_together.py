"""Several prompts asked at once answer as each by itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from whether.config import ModelConfig
from whether.engine.local import LocalModel
from whether.errors import EngineError
from whether.prompt.answering import DecodingStrategy, constrained_choice, greedy, label_scores, self_consistency
from whether.prompt.strategies import few_shot, zero_shot
from whether.prompt.together import RequestGroup, generate_batched
from whether.records import Decoding, Example, Generation, LabelScores, Message, Task

MODEL = ModelConfig(
    name="tiny", source={"_target_": "whether.sources.models.folder"}, licence="none", device="cpu", threads=1
)


class Counted:
    """A model that keeps how many chats came with each call."""

    def __init__(self, model: LocalModel):
        self.model, self.calls = model, list[int]()

    def generate(
        self, chats: Sequence[Sequence[Message]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        self.calls.append(len(chats))
        return self.model.generate(chats, decoding, progress=progress)

    def score_labels(self, chats: Sequence[Sequence[Message]], answers: Sequence[str]) -> list[LabelScores]:
        return self.model.score_labels(chats, answers)


@pytest.fixture
def model(tiny_model: Path) -> Counted:
    return Counted(LocalModel.load(tiny_model, None, MODEL))


def questions(task: Task, examples: list[Example]) -> list[RequestGroup]:
    decodings: list[DecodingStrategy] = [
        greedy(task, 0),
        constrained_choice(task, 0),
        greedy(task, 0),
        label_scores(task, 0),
        self_consistency(task, 0, samples=2),
        greedy(task, 0, max_new_tokens=3),
        constrained_choice(task, 0),
    ]
    strategies = [zero_shot(task, examples, 0), few_shot(task, examples, 0, examples=2)]
    return [
        RequestGroup(decoding, strategies[place % 2], examples[place : place + 4])
        for place, decoding in enumerate(decodings)
    ]


def test_each_is_answered_as_by_itself_and_alike_ones_share_a_call(
    model: Counted, label_task: Task, examples: list[Example]
) -> None:
    asked = questions(label_task, examples)
    together = generate_batched(model, asked)
    assert model.calls == [8, 8, 4, 4]
    for replies, question in zip(together, asked, strict=True):
        alone = question.ask(model)
        assert not isinstance(replies, EngineError)
        assert not isinstance(alone, EngineError)
        assert [(one.answer, one.generation.text, one.samples) for one in replies] == [
            (one.answer, one.generation.text, one.samples) for one in alone
        ]


def test_one_that_is_too_long_has_its_error_and_the_others_their_answers(
    model: Counted, label_task: Task, examples: list[Example]
) -> None:
    long = [replace(examples[0], inputs={"text": "a " * 3000})]
    first, second = questions(label_task, examples)[::2][:2]
    good, bad, other = generate_batched(model, [first, second._replace(examples=long), second])
    assert isinstance(bad, EngineError)
    assert "context window" in str(bad)
    for replies, question in [(good, first), (other, second)]:
        assert not isinstance(replies, EngineError)
        assert len(replies) == len(question.examples)
