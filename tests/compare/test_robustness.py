"""How much an arm depends on its format and on chance."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from arms import run_arm
from references import model_config

from whether.compare.robustness import measure_robustness
from whether.config import PromptConfig, RobustnessConfig, ServingConfig
from whether.errors import ConfigError
from whether.generate.protocol import answer_call, calls_of
from whether.outputs.decoding import DecodingStrategy, ParsedOutput, greedy, json_answer, label_scores
from whether.prompt.requests import PromptInputs, format_requests
from whether.prompt.strategies import Strategy, zero_shot
from whether.records import (
    Adherence,
    Decoding,
    Example,
    Generation,
    Generations,
    Message,
    Prediction,
    Robustness,
    Task,
    read_json,
    read_jsonl,
)
from whether.score.adherence import adherence, violation

MODEL = model_config()
STRATEGIES = "whether.prompt.strategies"


class Reads:
    """A chat model that knows the answer if the prompt is laid out as it likes it: a number of words it counts on."""

    def generate(
        self,
        chats: Sequence[Sequence[Message]],
        decoding: Decoding,
        *,
        progress: str | None = None,  # noqa: ARG002 - the protocol's signature
    ) -> list[list[Generation]]:
        return [[self._one(chat, number) for number in range(decoding.sampling.samples)] for chat in chats]

    def _one(self, chat: Sequence[Message], number: int) -> Generation:
        upper = "BILLING" in chat[0].content
        text = "tech" if upper or number % 2 else "billing"
        return Generation(None, text, input_tokens=1, cached_tokens=0, output_tokens=1, seconds=0.0)


@pytest.fixture
def dev(examples: list[Example]) -> list[Example]:
    return [example for example in examples if example.target == "billing"]


def measure(config: RobustnessConfig, task: Task, dev: list[Example]) -> Robustness:
    def build(*, task: Task, pool: Sequence[Example]) -> tuple[Strategy, DecodingStrategy]:
        return zero_shot(task, pool, 0), greedy(task, 0)

    inputs = PromptInputs(task, dev, dev, dev, None, [])
    strategy, decoding = build(task=task, pool=dev)
    plan, requests = format_requests(build, strategy, decoding, inputs, config=config, seed=0)
    answers = [
        Generations(one.id, one.split, one.call, "", samples, variant=one.variant)
        for call in calls_of(requests)
        for one, samples in zip(call, answer_call(Reads(), call), strict=True)
    ]
    own = {
        row.id: Prediction(row.id, "dev", "", "billing", row.target, 1.0, True, "", None, None, None, 0.0)
        for row in dev
    }
    return measure_robustness(
        plan, answers, task, dev={row.id: row for row in dev}, predictions=own,
        decoding_of=lambda asked: greedy(asked, 0),
    )  # fmt: skip


def test_the_numbers_are_those_of_the_answers(label_task: Task, dev: list[Example]) -> None:
    found = measure(RobustnessConfig(examples=8, samples=4), label_task, dev)
    assert (found.examples, found.score, found.batch_invariance) == (8, 1.0, 1.0)
    assert found.formats["labels_upper"].score == 0.0
    assert found.formats["labels_upper"].changed == 1.0
    assert found.formats["input_colon"].score == 1.0
    assert (found.sensitivity_spread, found.sensitivity_worst) == (1.0, 0.0)
    scores = [1.0, *(one.score for one in found.formats.values())]
    mean = sum(scores) / len(scores)
    assert found.sensitivity_deviation == pytest.approx(
        math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    )
    # Two of four samples say billing: two of six pairs agree, and the first of two equals is the majority.
    assert found.consistency == pytest.approx(1 / 3)
    assert found.answer_entropy == pytest.approx(1.0)
    assert found.majority_score == 1.0
    assert "demonstrations_reversed" not in found.formats
    assert found.skipped["demonstrations_reversed"] == "changes nothing in what the arm asks"


def test_what_is_switched_off_is_not_measured(label_task: Task, dev: list[Example]) -> None:
    found = measure(RobustnessConfig(examples=99, samples=None, formats=["input_dash"]), label_task, dev)
    assert found.examples == len(dev)
    assert list(found.formats) == ["input_dash"]
    assert found.consistency is found.samples is found.answer_entropy is None
    none = measure(RobustnessConfig(formats=[]), label_task, dev)
    assert none.sensitivity_spread is none.sensitivity_worst is None


@pytest.mark.heavy
def test_a_format_that_does_not_fit_is_left_out_and_the_arm_is_kept(artifacts: Path) -> None:
    """The arm's own prompts just fit the context of 1,024 tokens; a heading more does not."""
    from whether.chat.messages import zero_shot_messages
    from whether.model.loading import load_tokenizer
    from whether.model.tokens import encode
    from whether.records import write_jsonl

    task = read_json(artifacts / "prepare" / "task.json", Task)
    tokenizer = load_tokenizer(artifacts / "model")
    rows = read_jsonl(artifacts / "prepare" / "dev.jsonl", Example)
    long = rows[0]
    for words in range(500, 1100):
        long = replace(rows[0], inputs={"text": "a " * words})
        if len(encode(tokenizer, zero_shot_messages(task, long))) >= 1024 - task.max_new_tokens - 1:
            break
    assert len(encode(tokenizer, zero_shot_messages(task, long))) + task.max_new_tokens <= 1024
    write_jsonl(artifacts / "prepare" / "dev.jsonl", [long, *rows[1:]])
    folder = artifacts / "score" / "base-it"
    prompt = PromptConfig(strategy={"_target_": f"{STRATEGIES}.zero_shot"})
    run_arm(
        "base", prompt, MODEL, ServingConfig(requests=2, warmup=0), 0, name="base-it", artifacts=artifacts,
        folder=folder, robustness=RobustnessConfig(examples=10, samples=2, formats=["answer_cue", "labels_bars"]),
    )  # fmt: skip
    found = read_json(folder / "robustness.json", Robustness)
    assert "context window" in found.skipped["answer_cue"]
    assert (folder / "predictions.jsonl").exists()


def test_a_format_that_does_not_exist_is_an_error(label_task: Task, dev: list[Example]) -> None:
    with pytest.raises(ConfigError, match="no such format as 'label_upper'; did you mean 'labels_upper'"):
        measure(RobustnessConfig(formats=["label_upper"]), label_task, dev)


@pytest.fixture
def artifacts(make_artifacts, tiny_model: Path, label_task: Task, examples: list[Example]) -> Path:
    return make_artifacts(tiny_model, replace(label_task, inputs=["text"]), examples)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("strategy", "decoding"),
    [
        ({"_target_": f"{STRATEGIES}.knn", "examples": 3}, "greedy"),
        ({"_target_": f"{STRATEGIES}.few_shot", "examples": 3}, "label_scores"),
        ({"_target_": f"{STRATEGIES}.few_shot", "examples": 3}, "constrained"),
        ({"_target_": f"{STRATEGIES}.few_shot", "examples": 3}, "json_answer"),
    ],
)
def test_every_arm_is_measured_with_the_engine(artifacts: Path, strategy: dict, decoding: str) -> None:
    folder = artifacts / "score" / "base-it"
    prompt = PromptConfig(strategy=strategy, decoding={"_target_": f"whether.outputs.decoding.{decoding}"})
    run_arm(
        "base", prompt, MODEL, ServingConfig(requests=2, warmup=0), 0, name="base-it", artifacts=artifacts,
        folder=folder, robustness=RobustnessConfig(examples=4, samples=2),
    )  # fmt: skip
    found = read_json(folder / "robustness.json", Robustness)
    assert found.examples == 4
    assert found.batch_invariance == 1.0
    assert len(found.formats) >= 10
    assert found.sensitivity_spread is not None
    assert (found.consistency is None) == (decoding == "label_scores")
    form = read_json(folder / "adherence.json", Adherence)
    invalid = [line for line in read_jsonl(folder / "predictions.jsonl", Prediction) if not line.valid]
    assert sum(one.count for one in form.violations) == len(invalid)


def reply(text: str, finished: bool = True) -> ParsedOutput:
    return ParsedOutput(Generation(None, text, None, None, None, 0.0, finished), None)


def test_what_is_wrong_with_an_output_is_named(label_task: Task) -> None:
    plain, thinking = greedy(label_task, 0), greedy(label_task, 0, answer_prefix="Answer:")
    for text, finished, expected in [
        ("  ", True, "empty"),
        ("It is tech, I think", True, "a label with text around it"),
        ("billing or tech", False, "several labels, cut at the most new tokens"),
        ("technical", True, "no label"),
    ]:
        assert violation(label_task, plain, reply(text, finished)) == expected
    assert violation(label_task, thinking, reply("so tech", finished=False)) == (
        "'Answer:' is missing, cut at the most new tokens"
    )
    form = json_answer(label_task, 0)
    for text, expected in [
        ('{"answer": "nothing"}', "breaks the schema: enum at $.answer"),
        ('Sure: {"answer": "tech"}', "JSON with text around it"),
        ("tech", "not JSON"),
        ("{}", "breaks the schema: required at $"),
    ]:
        assert violation(label_task, form, reply(text)) == expected
    text_task = replace(label_task, output="text", labels=[], answer_pattern="[0-9]+")
    assert violation(text_task, greedy(text_task, 0), reply("none")) == "answer_pattern not found"


def test_violations_are_counted_and_shown(label_task: Task) -> None:
    replies = [reply("x"), reply("y"), reply(""), ParsedOutput(reply("tech").generation, "tech")]
    found = adherence(label_task, greedy(label_task, 0), replies)
    assert found.n == 4
    assert [(one.kind, one.count, one.outputs) for one in found.violations] == [
        ("no label", 2, ["x", "y"]),
        ("empty", 1, [""]),
    ]
    assert found.leniencies == {}


def test_leniencies_are_counted_and_such_outputs_are_violations(label_task: Task) -> None:
    """What was read although it lacks the form stays what it is by form."""
    way = greedy(label_task, 0)
    replies = [way.parse([reply(text).generation]) for text in ("tech", "**tech**", "Label: **tech**", "no tech")]
    assert [one.answer for one in replies] == ["tech", "tech", "tech", None]
    found = adherence(label_task, way, replies)
    assert [(one.kind, one.count) for one in found.violations] == [("a label with text around it", 3)]
    assert found.leniencies == {"markup": 2, "prefix": 1}


def test_scores_are_not_sampled(label_task: Task) -> None:
    assert not label_scores(label_task, 0).writes
