"""How answers are got: voting, thinking first, label scores, labels and schemas as constraints."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from references import model_config

from whether.bundle.asking import ask
from whether.engine.local import LocalModel
from whether.errors import ConfigError, EngineError
from whether.model.tokens import encode, encode_answer
from whether.outputs.decoding import (
    CONTENT_FREE,
    constrained,
    greedy,
    json_answer,
    label_scores,
    self_consistency,
)
from whether.outputs.kinds import output_of
from whether.prompt.strategies import few_shot, zero_shot
from whether.records import Choice, Decoding, Example, Generation, Message, Sampling, Task

MODEL = model_config()


class Says:
    """A chat model that gives the answers it is told to, in turn."""

    def __init__(self, *texts: str):
        self.texts, self.samplings, self.lengths = iter(texts), list[Sampling](), list[int]()

    def generate(
        self,
        chats: Sequence[Sequence[Message]],
        decoding: Decoding,
        *,
        progress: str | None = None,  # noqa: ARG002 - the protocol's signature
    ) -> list[list[Generation]]:
        self.samplings.append(decoding.sampling)
        self.lengths.append(decoding.max_new_tokens)
        return [[self._write() for _ in range(decoding.sampling.samples)] for _ in chats]

    def _write(self) -> Generation:
        text = next(self.texts)
        return Generation(None, text, input_tokens=10, cached_tokens=9, output_tokens=len(text), seconds=0.5)


@pytest.fixture
def local(tiny_model: Path) -> LocalModel:
    return LocalModel.load(tiny_model, None, MODEL)


def asked(decoding, model, task: Task, examples: Sequence[Example]):
    return ask(model, task, zero_shot(task, examples, 0), decoding, examples)


def test_a_chain_of_thought_is_read_after_its_last_mark(label_task: Task, examples: list[Example]) -> None:
    model = Says("First, billing. Answer: tech\nso Answer: other", "it is tech", "Answer: none of them")
    decoding = greedy(label_task, 0, answer_prefix="Answer:", max_new_tokens=96)
    replies = asked(decoding, model, label_task, examples[:3])
    assert [reply.answer for reply in replies] == ["other", None, None]
    assert model.lengths == [96]
    assert not decoding.is_plain
    assert greedy(label_task, 0).is_plain


def test_the_answer_given_most_often_wins_and_invalid_ones_have_no_vote(
    label_task: Task, examples: list[Example]
) -> None:
    texts = ["tech", "??", "billing", "??", "??", "billing"]
    [reply] = asked(self_consistency(label_task, 7, samples=6), Says(*texts), label_task, examples[:1])
    assert reply.answer == reply.generation.text == "billing"
    assert reply.samples == ["tech", None, "billing", None, None, "billing"]
    assert reply.generation.output_tokens == sum(map(len, texts))
    assert reply.generation.seconds == 3
    assert reply.generation.input_tokens == 60  # it tells no tokens, as a served model: the prompt is read each time


def test_of_equals_the_earliest_wins_and_without_a_valid_answer_there_is_none(
    label_task: Task, examples: list[Example]
) -> None:
    model = Says("tech", "other", "x", "y")
    replies = asked(self_consistency(label_task, 7, samples=2, temperature=1.5), model, label_task, examples[:2])
    assert [reply.answer for reply in replies] == ["tech", None]
    assert model.samplings == [Sampling(temperature=1.5, seed=7, samples=2)]


def test_samples_of_the_engine_are_repeated_by_the_seed(
    local: LocalModel, label_task: Task, examples: list[Example]
) -> None:
    first, again, other = (
        [reply.generation.text for reply in asked(way, local, label_task, examples[:4])]
        for way in (self_consistency(label_task, seed, samples=3, temperature=1.0) for seed in (1, 1, 2))
    )
    assert first == again != other


def test_with_labels_as_constraint_every_answer_is_valid(
    local: LocalModel, label_task: Task, examples: list[Example]
) -> None:
    way = constrained(label_task, 0)
    replies = asked(way, local, label_task, examples)
    assert {reply.answer for reply in replies} <= set(label_task.labels)
    assert any(reply.answer is None for reply in asked(greedy(label_task, 0), local, label_task, examples))
    assert way.decoding.constraint == Choice(("billing", "tech", "other"))
    assert not way.is_plain  # stock lm-eval has no constraints


def test_constrained_answers_are_read_as_greedy_ones_are(label_task: Task, examples: list[Example]) -> None:
    """A server that cannot keep to the constraint writes what it likes."""
    for text in ("tech", ' "Tech".\nsince', "It is tech", "", "TECH!"):
        [reply], [plain] = (
            asked(way(label_task, 0), Says(text), label_task, examples[:1]) for way in (constrained, greedy)
        )
        assert reply.answer == plain.answer
    assert constrained(label_task, 0).max_new_tokens == greedy(label_task, 0).max_new_tokens


def test_free_text_is_not_constrained(label_task: Task) -> None:
    task = replace(label_task, output="text", labels=[])
    way, plain = constrained(task, 0), greedy(task, 0)
    assert (way.decoding, way.is_plain, way.schema) == (plain.decoding, True, None)


SCHEMA = {
    "type": "object",
    "properties": {"queue": {"enum": ["tech", "billing"]}, "again": {"type": "boolean"}},
    "required": ["queue", "again"],
    "additionalProperties": False,
}


def test_json_keeps_to_the_tasks_schema_with_keys_in_the_order_of_its_targets(
    local: LocalModel, label_task: Task, examples: list[Example]
) -> None:
    task = replace(label_task, output="json", labels=[], schema=SCHEMA, max_new_tokens=40)
    replies = asked(constrained(task, 0), local, task, examples[:6])
    target = output_of(task).parse_target('{"queue": "tech", "again": true}')
    for reply in replies:
        assert reply.answer == reply.generation.text  # as a target is written, to the letter
        assert list(json.loads(reply.answer or "")) == list(json.loads(target)) == ["again", "queue"]
    assert any(reply.answer is None for reply in asked(greedy(task, 0), local, task, examples[:6]))


@pytest.mark.parametrize(
    "unkept",
    [
        ({"output": "json", "labels": [], "schema": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"labels": ["billing", "a label with many more tokens than three"], "max_new_tokens": 3}, "more than max_new"),
    ],
)
def test_what_a_model_cannot_keep_to_is_told_once_and_left_out(
    local: LocalModel, label_task: Task, examples: list[Example], caplog: pytest.LogCaptureFixture, unkept: tuple
) -> None:
    change, reason = unkept
    task = replace(label_task, **change)
    first, again = (
        [reply.generation.text for reply in asked(constrained(task, 0), local, task, examples[:4])] for _ in range(2)
    )
    assert first == again == [reply.generation.text for reply in asked(greedy(task, 0), local, task, examples[:4])]
    [line] = [line.message for line in caplog.records if "not constrained" in line.message]
    assert reason in line
    demanded = replace(constrained(task, 0).decoding, constraint_required=True)
    with pytest.raises(EngineError, match=reason):
        local.generate([[Message("user", "x")]], demanded)


def test_many_labels_are_as_quick_to_ask_for_again(local: LocalModel, label_task: Task) -> None:
    """The tree of the labels' tokens is made once, not for every request that is sent alone."""
    labels = [f"intent {number} of {word}" for number in range(50) for word in ("cards", "accounts", "transfers")]
    decoding = constrained(replace(label_task, labels=labels, max_new_tokens=24), 0).decoding
    chats = [[Message("user", "x")], [Message("user", "y")]]
    for chat in chats:
        [[answer]] = local.generate([chat], decoding)
        assert answer.text in labels
    kept = local._compiled[1]
    local.generate(chats[:1], replace(decoding))
    assert local._compiled[1] is kept


def test_samples_are_constrained_too(local: LocalModel, label_task: Task) -> None:
    warm = replace(constrained(label_task, 0).decoding, sampling=Sampling(temperature=1.5, seed=1, samples=8))
    [samples] = local.generate([[Message("user", "My invoice is wrong")]], warm)
    assert {one.text for one in samples} <= set(label_task.labels)
    assert len({one.text for one in samples}) > 1


def reference_log_probabilities(local: LocalModel, chat: Sequence[Message], labels: Sequence[str]) -> list[float]:
    """Each label's log-probability by one plain forward pass of transformers."""
    import torch

    values = []
    for label in labels:
        prompt, answer = encode(local.tokenizer, chat), encode_answer(local.tokenizer, label)
        with torch.no_grad():
            logits = local.model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        values.append(sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(answer)))
    return values


@pytest.mark.parametrize("calibrate", [False, True])
@pytest.mark.parametrize("normalise", ["none", "tokens"])
def test_label_scores_are_those_of_transformers(
    local: LocalModel, label_task: Task, examples: list[Example], normalise: str, calibrate: bool
) -> None:
    task = replace(label_task, labels=["billing", "technical support desk", "other"])
    strategy = few_shot(label_task, examples, 0, examples=3)
    lengths = [len(encode_answer(local.tokenizer, label)) for label in task.labels]

    def scores(example: Example) -> list[float]:
        values = reference_log_probabilities(local, strategy(example), task.labels)
        return [value / by for value, by in zip(values, lengths, strict=True)] if normalise == "tokens" else values

    def shares(example: Example) -> list[float]:
        weights = [math.exp(value) for value in scores(example)]
        return [weight / sum(weights) for weight in weights]

    empty = [shares(replace(examples[0], inputs={"text": text})) for text in CONTENT_FREE]
    bias = [math.log(sum(column) / len(empty)) if calibrate else 0.0 for column in zip(*empty, strict=True)]
    expected = []
    for example in examples[:8]:
        values = [value - by for value, by in zip(scores(example), bias, strict=True)]
        expected.append(task.labels[values.index(max(values))])
    replies = ask(
        local,
        task,
        strategy,
        label_scores(task, 0, normalise=normalise, calibrate=calibrate),
        examples[:8],  # type: ignore[arg-type]
    )
    assert [reply.answer for reply in replies] == expected
    assert all(reply.generation.cached_tokens < reply.generation.input_tokens for reply in replies)
    assert all(reply.generation.cached_tokens > reply.generation.input_tokens / 2 for reply in replies)


def test_calibration_takes_a_prompts_own_bias_away(
    local: LocalModel, label_task: Task, examples: list[Example]
) -> None:
    """After an input that says nothing, no label is ahead by more than the three such inputs differ."""
    empty = [replace(examples[0], inputs={"text": text}) for text in CONTENT_FREE]
    strategy = few_shot(label_task, examples, 0, examples=3)
    plain = [reply.answer for reply in ask(local, label_task, strategy, label_scores(label_task, 0), empty)]
    assert len(set(plain)) == 1  # the prompt's bias
    calibrated = [
        reply.answer for reply in ask(local, label_task, strategy, label_scores(label_task, 0, calibrate=True), empty)
    ]
    assert calibrated != plain


def test_a_served_model_has_no_scores(label_task: Task, examples: list[Example]) -> None:
    with pytest.raises(EngineError, match="label_scores needs a model on this machine"):
        asked(label_scores(label_task, 0), Says(), label_task, examples[:1])


def test_a_way_for_labels_says_so(label_task: Task) -> None:
    with pytest.raises(ConfigError, match="needs a task with labels, and tickets has output: text"):
        label_scores(replace(label_task, output="text", labels=[]), 0)


def test_structured_answers_are_read_as_the_schema_says(label_task: Task, examples: list[Example]) -> None:
    texts = ['{"answer": "tech"}', '{"answer": "nonsense"}', '{"answer": "tech", "why": "x"}', "tech", '["tech"]', "{"]
    way = json_answer(label_task, 0)
    replies = asked(way, Says(*texts), label_task, examples[:6])
    assert [reply.answer for reply in replies] == ["tech", None, "tech", "tech", "tech", None]
    assert [reply.valid for reply in replies] == [True, False, False, False, False, False]
    assert json.loads(way.format_target("tech")) == {"answer": "tech"}
    assert output_of(label_task).json_schema()["properties"] == {"answer": {"enum": label_task.labels}}


def test_a_json_task_keeps_its_own_schema(label_task: Task, examples: list[Example]) -> None:
    task = replace(label_task, output="json", labels=[], schema={"type": "object", "required": ["queue"]})
    way = json_answer(task, 0)
    replies = asked(way, Says('{"queue": 1}', "{}"), task, examples[:2])
    assert [reply.answer for reply in replies] == ['{"queue": 1}', None]
    assert way.format_target('{"queue": 1}') == '{"queue": 1}'
    assert way.max_new_tokens == task.max_new_tokens


def test_a_schema_as_constraint_makes_every_answer_valid(
    local: LocalModel, label_task: Task, examples: list[Example]
) -> None:
    way = json_answer(label_task, 0, constrained=True, max_new_tokens=24)
    replies = asked(way, local, label_task, examples[:6])
    assert {reply.answer for reply in replies} <= set(label_task.labels)
