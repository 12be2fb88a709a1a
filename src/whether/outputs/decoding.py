"""Decoding: how an arm gets an answer from a model once the messages are there.

Each is a builder `(task, seed, *, ...) -> DecodingStrategy`; its keyword-only arguments are what `decoding` in
conf/prompt/<name>.yaml sets. Most prompts that come with the project are `constrained`, so that no answer of theirs
fails by its form. A strategy says what is asked of the model and what its generations mean; it never sees a model. What
a prompt must tell the model about the form of its answer belongs in the prompt's own instruction.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from whether.config import CONF, PromptConfig, build
from whether.errors import ConfigError
from whether.outputs.kinds import answer_reader, output_of
from whether.outputs.output import schema_constraint
from whether.outputs.reading import NO_ANSWER, Read, Reading, cleaned, in_order
from whether.records import Decoding, Generation, Generations, Message, Sampling, Task, sum_known

NewTokens = Annotated[int, Field(ge=1, le=4096)]
CONTENT_FREE = ("N/A", "[MASK]", "")
"""Inputs that say nothing, whose answers show a prompt's own bias (Zhao et al. 2021)."""


class ParsedOutput(NamedTuple):
    """One answer, as it was written and as it was parsed."""

    generation: Generation
    answer: str | None
    """None if none was found."""
    samples: list[str | None] | None = None
    """How each sample was parsed, where several were drawn."""
    leniencies: tuple[str, ...] = ()
    """What it took to read the answer (`whether.records.LENIENCIES`); empty where it has the form asked for."""

    @property
    def valid(self) -> bool:
        """Whether the output has the form asked for."""
        return Reading(self.answer, self.leniencies).exact


Parse = Callable[[Sequence[Generation]], ParsedOutput]
"""From all samples of one request to its answer."""


class DecodingStrategy(NamedTuple):
    """A way to get answers: what is asked of a model, and what comes of it."""

    decoding: Decoding
    parse: Parse
    read_text: Read
    """The answer in one output."""
    format_target: Callable[[str], str] = str
    """How a target reads as a demonstration's answer."""
    schema: dict[str, Any] | None = None
    """JSON Schema of an output; None: outputs are not JSON."""
    answer_prefix: str | None = None
    """What the answer follows in an output."""
    is_plain: bool = False
    """Whether outputs are greedy and read by the task's own rule, so that stock lm-eval can repeat the arm."""
    calibrate: Callable[[Sequence[Sequence[Generation]]], Parse] | None = None
    """From the samples of `CONTENT_FREE` inputs to a parser that takes the prompt's bias off; None: none are asked."""

    @property
    def max_new_tokens(self) -> int:
        """Most tokens that a model writes."""
        return self.decoding.max_new_tokens

    @property
    def writes(self) -> bool:
        """Whether answers are written, and so can be sampled; False: given answers are scored."""
        return not self.decoding.score

    def format_demonstrations(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages whose demonstrations have the form that is asked for."""
        return [
            message._replace(content=self.format_target(message.content)) if message.role == "assistant" else message
            for message in messages
        ]


def build_decoding(name: str, prompt: PromptConfig, task: Task, seed: int) -> DecodingStrategy:
    """Return a prompt's decoding. Raises ConfigError that begins with the prompt's file for what it cannot be."""
    file = CONF / "prompt" / f"{name}.yaml"
    strategy: DecodingStrategy = build(prompt.decoding, task, seed, where=f"{file}: decoding")
    return strategy


def parse_generations(
    task: Task, strategy: DecodingStrategy, answers: Sequence[Generations]
) -> list[tuple[Generations, ParsedOutput]]:
    """Return each request's samples and what they mean, in order, the calibration requests left out.

    A classifier's label is read by the task's own rule, however the request asked for it. A request that failed has no
    answer, and the reason in `generation.error`.
    """
    chosen = greedy(task, 0) if any(one.classifier for one in answers) else strategy
    parse = chosen.parse
    if chosen.calibrate:
        parse = chosen.calibrate([one.samples for one in answers if one.split == "calibration"])
    return [
        (one, ParsedOutput(Generation.failed(one.error), None) if one.error else parse(one.samples))
        for one in answers
        if one.split != "calibration"
    ]


def greedy(
    task: Task,
    seed: int,  # noqa: ARG001 - every builder is called alike
    *,
    answer_prefix: str | None = None,
    max_new_tokens: NewTokens | None = None,
) -> DecodingStrategy:
    """Write the most likely tokens. `max_new_tokens` is the task's if it is None; a chain of thought needs more.

    `answer_prefix`: the answer follows the last place of this text, as in a chain of thought.
    """
    length = max_new_tokens or task.max_new_tokens
    read_text = _reader_after(task, answer_prefix)
    is_plain = answer_prefix is None and length == task.max_new_tokens
    return DecodingStrategy(
        Decoding(length), _first(read_text), read_text, schema=task.schema, answer_prefix=answer_prefix,
        is_plain=is_plain,
    )  # fmt: skip


def self_consistency(
    task: Task,
    seed: int,
    *,
    samples: Annotated[int, Field(ge=2)],
    temperature: Annotated[float, Field(gt=0)] = 0.7,
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0,
    answer_prefix: str | None = None,
    max_new_tokens: NewTokens | None = None,
) -> DecodingStrategy:
    """Draw several answers and take the one given most often, the earliest of equals (Wang et al. 2023).

    Invalid answers have no vote. Tokens and seconds are those of all samples, the prompt's counted once where it is
    read once: by a model on this machine.
    """
    length = max_new_tokens or task.max_new_tokens
    read_text = _reader_after(task, answer_prefix)
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed, samples=samples)

    def vote(drawn: Sequence[Generation]) -> ParsedOutput:
        readings = [read_text(one.text) for one in drawn]
        answers = [reading.answer for reading in readings]
        counts = Counter(answer for answer in answers if answer is not None)
        winner = max(counts, key=lambda answer: counts[answer]) if counts else None
        place = answers.index(winner)
        first = drawn[place]
        total = sum_known([one.output_tokens for one in drawn])
        # Samples share the whole prompt: what of it other chats share too is not known. A server reads it each time.
        asked, cached = first.input_tokens, None
        if first.token_ids is None:
            asked, cached = (
                sum_known([one.input_tokens for one in drawn]),
                sum_known([one.cached_tokens for one in drawn]),
            )
        seconds = sum(one.seconds for one in drawn)
        whole = first._replace(output_tokens=total, input_tokens=asked, cached_tokens=cached, seconds=seconds)
        return ParsedOutput(whole, winner, answers, readings[place].leniencies)

    decoding = Decoding(length, sampling=sampling)
    return DecodingStrategy(decoding, vote, read_text, schema=task.schema, answer_prefix=answer_prefix)


def constrained(task: Task, seed: int) -> DecodingStrategy:
    """Write the most likely tokens that keep to what the task's answers are (`OutputKind.constraint`).

    That is one of the labels, or JSON that the task's schema allows; nothing is known of free texts, for which this is
    `greedy`. Outputs are read by the task's own rule, as those of `greedy`. A model that cannot keep to the constraint
    writes without: a server that has no way to, or an engine that cannot enforce a keyword of the schema.
    """
    plain = greedy(task, seed)
    constraint = output_of(task).constraint
    if constraint is None:
        return plain
    decoding = replace(plain.decoding, constraint=constraint, constraint_required=False)
    return plain._replace(decoding=decoding, is_plain=False)


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

    from scipy.special import log_softmax, logsumexp

    def values(samples: Sequence[Generation]) -> list[float]:
        scores = samples[0].scores or []
        return [one.log_likelihood / (one.tokens if normalise == "tokens" else 1) for one in scores]

    def parser(bias: Sequence[float]) -> Parse:
        def parse(samples: Sequence[Generation]) -> ParsedOutput:
            adjusted = [value - by for value, by in zip(values(samples), bias, strict=True)]
            best = max(range(len(adjusted)), key=adjusted.__getitem__)
            label = task.labels[best]
            tokens = (samples[0].scores or [])[best].tokens
            return ParsedOutput(samples[0]._replace(text=label, output_tokens=tokens), label)

        return parse

    def calibrated(content_free: Sequence[Sequence[Generation]]) -> Parse:
        logs = [log_softmax(values(samples)) for samples in content_free]
        return parser([float(value) for value in logsumexp(logs, axis=0, b=1 / len(logs))])

    decoding, unbiased = Decoding(task.max_new_tokens, score=tuple(task.labels)), parser([0.0] * len(task.labels))
    return DecodingStrategy(decoding, unbiased, answer_reader(task), calibrate=calibrated if calibrate else None)


def json_answer(
    task: Task,
    seed: int,  # noqa: ARG001 - every builder is called alike
    *,
    constrained: bool = False,
    max_new_tokens: NewTokens | None = None,
) -> DecodingStrategy:
    """Answer in JSON: an object that fits the task's schema, or `{"answer": ...}` for a task of labels or text.

    `constrained` allows only tokens that can still become such an object; a model that cannot keep to that is an
    EngineError.
    """
    kind = output_of(task)
    schema = kind.json_schema()
    length = max_new_tokens or task.max_new_tokens + kind.json_tokens
    decoding = Decoding(length, constraint=schema_constraint(schema) if constrained else None)
    return DecodingStrategy(decoding, _first(kind.read_json), kind.read_json, kind.to_json, schema)


def _first(read_text: Read) -> Parse:
    """Return what parses the only sample of a request."""

    def parse(samples: Sequence[Generation]) -> ParsedOutput:
        found = read_text(samples[0].text)
        return ParsedOutput(samples[0], found.answer, leniencies=found.leniencies)

    return parse


def _reader_after(task: Task, prefix: str | None) -> Read:
    """Return a reader of what follows the last `prefix` in an output; without it in the output, nothing is found.

    Other letter case of the prefix and Markdown in it are leniencies, and a block of thought is left out first: what
    follows one is the answer without a prefix, too.
    """
    read_text = answer_reader(task)
    if prefix is None:
        return read_text
    marked = re.compile(r"[\s*_`]*".join(re.escape(part) for part in re.findall(r"\w+|[^\w\s]", prefix)), re.IGNORECASE)

    def read_after(output: str) -> Reading:
        text, used = cleaned(output)
        _, exact, answer = text.rpartition(prefix)
        if not exact:
            last = None if not prefix.strip() else next(reversed(list(marked.finditer(text))), None)
            if last is None and "thought" not in used:
                return NO_ANSWER
            answer = text[last.end() :] if last else text
            used = (*used, *(["markup"] if last else ["prefix"]))
        found = read_text(answer)
        return Reading(found.answer, in_order([*used, *found.leniencies])) if found.answer is not None else NO_ANSWER

    return read_after


def _need_labels(task: Task, name: str) -> None:
    if output_of(task).classes is None:
        raise ConfigError(f"decoding {name} needs a task with labels, and {task.name} has output: {task.output}")
