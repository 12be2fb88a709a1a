"""Decoding: how an arm gets an answer from a model once the messages are there.

Each is a builder `(task, seed, *, ...) -> DecodingStrategy`; its keyword-only arguments are what `decoding` in
conf/prompt/<name>.yaml sets. Greedy decoding is the default. What a prompt must tell the model about the form of its
answer belongs in the prompt's own instruction.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from whether.engine.requests import ChatModel, LabelScorer
from whether.errors import ConfigError, EngineError
from whether.outputs.kinds import output_of
from whether.prompt.strategies import Strategy
from whether.records import Choice, Decoding, Example, Generation, JsonSchema, Message, Sampling, Task

Parse = Callable[[str], str | None]
"""From an output to its answer; None where it has not the form asked for."""
NewTokens = Annotated[int, Field(ge=1, le=4096)]
CONTENT_FREE = ("N/A", "[MASK]", "")
"""Inputs that say nothing, whose answers show a prompt's own bias (Zhao et al. 2021)."""


class ParsedOutput(NamedTuple):
    """One answer, as it was written and as it was understood."""

    generation: Generation
    answer: str | None
    """None if nothing valid was found."""
    samples: list[str | None] | None = None
    """What each sample was understood as, where several were drawn."""


class Ask(Protocol):
    """Gets answers to examples, in their order."""

    def __call__(
        self, model: ChatModel, strategy: Strategy, examples: Sequence[Example], *, progress: str | None = None
    ) -> list[ParsedOutput]:
        """Raise EngineError for what the model cannot do."""
        ...


class Writing(NamedTuple):
    """Answers that a model writes, to each chat for itself, so that chats of several prompts can go to it together."""

    decoding: Decoding
    understand: Callable[[Sequence[Generation]], ParsedOutput]
    """From all that was written after one chat to its reply."""

    def ask(
        self, model: ChatModel, strategy: Strategy, examples: Sequence[Example], *, progress: str | None = None
    ) -> list[ParsedOutput]:
        """Ask each example in a chat of its own."""
        written = model.generate([strategy(one) for one in examples], self.decoding, progress=progress)
        return [self.understand(one) for one in written]


class DecodingStrategy(NamedTuple):
    """A way to get answers."""

    ask: Ask
    max_new_tokens: int
    """Most tokens that a model writes."""
    read: Parse
    """What an output is understood as."""
    show: Callable[[str], str] = str
    """How a target reads as a demonstration's answer."""
    schema: dict[str, Any] | None = None
    """JSON Schema of an output; None: outputs are no JSON."""
    after: str | None = None
    """What the answer follows in an output."""
    writing: Writing | None = None
    """How answers are written, where `ask` is no more than that: then they can be sampled, and several prompts asked
    at once."""
    is_plain: bool = False
    """Whether outputs are greedy and read by the task's own rule, so that stock lm-eval can repeat the arm."""

    def shown(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages whose demonstrations have the form that is asked for."""
        return [
            message._replace(content=self.show(message.content)) if message.role == "assistant" else message
            for message in messages
        ]


def greedy(
    task: Task,
    seed: int,  # noqa: ARG001 - every builder is called alike
    *,
    after: str | None = None,
    max_new_tokens: NewTokens | None = None,
) -> DecodingStrategy:
    """Write the most likely tokens. `after`: the answer follows the last place of this text, as in a chain of thought.

    `max_new_tokens` is the task's if it is None; a chain of thought needs more.
    """
    length = max_new_tokens or task.max_new_tokens
    read = _reader_after(task, after)
    writing = Writing(Decoding(length), _first(read))
    is_plain = after is None and length == task.max_new_tokens
    return DecodingStrategy(
        writing.ask, length, read, schema=task.schema, after=after, writing=writing, is_plain=is_plain
    )


def self_consistency(
    task: Task,
    seed: int,
    *,
    samples: Annotated[int, Field(ge=2)],
    temperature: Annotated[float, Field(gt=0)] = 0.7,
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0,
    after: str | None = None,
    max_new_tokens: NewTokens | None = None,
) -> DecodingStrategy:
    """Draw several answers and take the one given most often, the earliest of equals (Wang et al. 2023).

    Invalid answers have no vote. Tokens and seconds are those of all samples, the prompt's counted once where it is
    read once: by a model on this machine.
    """
    length = max_new_tokens or task.max_new_tokens
    read = _reader_after(task, after)
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed, samples=samples)

    def vote(drawn: Sequence[Generation]) -> ParsedOutput:
        answers = [read(one.text) for one in drawn]
        counts = Counter(answer for answer in answers if answer is not None)
        winner = max(counts, key=lambda answer: counts[answer]) if counts else None
        first = drawn[answers.index(winner)]
        total = _total([one.output_tokens for one in drawn])
        # Samples share the whole prompt: what of it other chats share too is not told. A server reads it each time.
        asked, cached = first.input_tokens, None
        if first.token_ids is None:
            asked, cached = _total([one.input_tokens for one in drawn]), _total([one.cached_tokens for one in drawn])
        seconds = sum(one.seconds for one in drawn)
        whole = first._replace(output_tokens=total, input_tokens=asked, cached_tokens=cached, seconds=seconds)
        return ParsedOutput(whole, winner, answers)

    writing = Writing(Decoding(length, sampling=sampling), vote)
    return DecodingStrategy(writing.ask, length, read, schema=task.schema, after=after, writing=writing)


def constrained_choice(task: Task, seed: int) -> DecodingStrategy:  # noqa: ARG001
    """Write the most likely tokens that spell one of the labels: every answer is valid. Label tasks only."""
    _need_labels(task, "constrained_choice")
    read = output_of(task).parse
    writing = Writing(Decoding(task.max_new_tokens, constraint=Choice(tuple(task.labels))), _first(read))
    return DecodingStrategy(writing.ask, task.max_new_tokens, read, writing=writing)


def label_scores(
    task: Task,
    seed: int,  # noqa: ARG001 - every builder is called alike
    *,
    normalise: Literal["none", "tokens"] = "none",
    calibrate: bool = False,
) -> DecodingStrategy:
    """Answer with the likeliest label, the end of the turn counted in; nothing is written. Label tasks only.

    `normalise: tokens` compares means over a label's tokens in place of sums, so that long labels are not at a
    disadvantage. `calibrate` divides each label's probability by the one that it has after inputs that say nothing
    (contextual calibration, Zhao et al. 2021), the mean over `CONTENT_FREE`. Raises EngineError for a served model.
    """
    _need_labels(task, "label_scores")

    def values(judgement: Any) -> list[float]:
        divisors = [score.tokens if normalise == "tokens" else 1 for score in judgement.scores]
        return [score.log_likelihood / count for score, count in zip(judgement.scores, divisors, strict=True)]

    def ask(
        model: ChatModel,
        strategy: Strategy,
        examples: Sequence[Example],
        *,
        progress: str | None = None,  # noqa: ARG001
    ) -> list[ParsedOutput]:
        if not isinstance(model, LabelScorer):
            raise EngineError("label_scores needs a model on this machine: a served one does not tell probabilities")
        empty = (
            [replace(examples[0], id="", inputs=dict.fromkeys(examples[0].inputs, text)) for text in CONTENT_FREE]
            if calibrate
            else []
        )
        judgements = model.score_labels([strategy(example) for example in [*empty, *examples]], task.labels)
        bias = _log_mean([_log_softmax(values(judgement)) for judgement in judgements[: len(empty)]])
        replies = []
        for judgement in judgements[len(empty) :]:
            adjusted = [
                value - by for value, by in zip(values(judgement), bias or [0.0] * len(task.labels), strict=True)
            ]
            best = max(range(len(adjusted)), key=adjusted.__getitem__)
            label = task.labels[best]
            replies.append(
                ParsedOutput(
                    Generation(
                        token_ids=None, text=label, input_tokens=judgement.input_tokens,
                        cached_tokens=judgement.cached_tokens, output_tokens=judgement.scores[best].tokens,
                        seconds=judgement.seconds,
                    ),
                    label,
                )
            )  # fmt: skip
        return replies

    return DecodingStrategy(ask, task.max_new_tokens, output_of(task).parse)


def json_answer(
    task: Task,
    seed: int,  # noqa: ARG001 - every builder is called alike
    *,
    constrained: bool = False,
    max_new_tokens: NewTokens | None = None,
) -> DecodingStrategy:
    """Answer in JSON: an object that fits the task's schema, or `{"answer": ...}` for a task of labels or text.

    `constrained` allows only tokens that can still become such an object (llguidance, an extra).
    """
    kind = output_of(task)
    schema = kind.json_schema()
    length = max_new_tokens or task.max_new_tokens + kind.json_tokens
    decoding = Decoding(length, constraint=JsonSchema(schema) if constrained else None)
    writing = Writing(decoding, _first(kind.parse_json))
    return DecodingStrategy(writing.ask, length, kind.parse_json, kind.to_json, schema, writing=writing)


def _first(read: Parse) -> Callable[[Sequence[Generation]], ParsedOutput]:
    """Return what takes the only answer to a chat as it was written."""
    return lambda written: ParsedOutput(written[0], read(written[0].text))


def _reader_after(task: Task, after: str | None) -> Parse:
    """Return a reader of what follows the last `after` in an output; without it in the output, nothing is found."""
    read = output_of(task).parse
    if after is None:
        return read

    def read_after(output: str) -> str | None:
        _, found, answer = output.rpartition(after)
        return read(answer) if found else None

    return read_after


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _need_labels(task: Task, name: str) -> None:
    if output_of(task).classes is None:
        raise ConfigError(f"decoding {name} needs a task with labels, and {task.name} has output: {task.output}")


def _log_softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    total = top + math.log(sum(math.exp(value - top) for value in values))
    return [value - total for value in values]


def _log_mean(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the logarithm of the mean probability in each column; nothing without rows."""
    return [math.log(sum(map(math.exp, column)) / len(rows)) for column in zip(*rows, strict=True)]
