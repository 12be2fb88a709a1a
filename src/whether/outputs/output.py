"""What a kind of output knows: how its targets and answers read, what is wrong with one, what it can be held to.

A kind is a class that takes the task, and its own settings as keyword-only arguments; conf/output/<name>.yaml names it.
A class that begins from `OutputKind` says how an answer of the form asked for is read (`parse`) and what of the rest is
not as below.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from whether.outputs.json_reading import read_document
from whether.outputs.reading import NO_ANSWER, Reading, in_order, read_leniently
from whether.records import Choice, JsonSchema


class OutputSettings(Protocol):
    """What of a task says how its answers read: `whether.records.Task`, and `whether.config.TaskConfig` too."""

    @property
    def output(self) -> str: ...  # noqa: D102
    @property
    def output_settings(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def labels(self) -> Sequence[str] | None: ...  # noqa: D102
    @property
    def answer_pattern(self) -> str | None: ...  # noqa: D102
    @property
    def schema(self) -> Mapping[str, Any] | None: ...  # noqa: D102


class OutputKind(Protocol):
    """One kind of output, with the settings of one task."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of conf/metric that it has, beside those whose `outputs` name it."""
        return ("exact_match",)

    @property
    def task_settings(self) -> tuple[str, ...]:
        """Which of a task's `labels`, `definitions`, `unseen_labels`, `schema` and `answer_pattern` it uses."""
        return ()

    @property
    def structured(self) -> bool:
        """Whether a target may stand in the data as an object or a list."""
        return False

    @property
    def json_tokens(self) -> int:
        """Tokens that its JSON form takes beyond the answer."""
        return 8

    @property
    def classes(self) -> Sequence[str] | None:
        """The answers that there are, to stratify by, to balance, to constrain to; None: they cannot be listed."""
        return None

    @property
    def constraint(self) -> Choice | JsonSchema | None:
        """What every answer is, for a model to keep to while it writes: one of the classes. None: nothing is known."""
        return Choice(tuple(self.classes)) if self.classes else None

    def check_settings(self) -> None:
        """Raise ConfigError for settings that no answer could be read by."""

    def parse_target(self, text: str) -> str:
        """Return a target as it is used, from the text that the data holds. ValueError says why it cannot be."""
        answer = self.parse(text)
        if answer is None:
            raise ValueError(f"target {text!r:.80} has not the form of an answer: {self.violation(text)}")
        return answer

    def parse(self, text: str) -> str | None:
        """Return the answer in what a model wrote; None where it has not the form asked for."""
        ...

    def read(self, text: str) -> Reading:
        """Return the answer in what a model wrote, whatever its form, and the leniencies that this takes.

        What this reads counts for quality, and what `parse` reads of the output as it is for valid outputs.
        """
        return read_leniently(text, self.parse)

    def canonical(self, target: str) -> str:
        """Return a target as an equal answer reads."""
        answer = self.parse(target)
        return target if answer is None else answer

    def violation(self, text: str) -> str:  # noqa: ARG002
        """Return in a few words what is wrong with an output in which no answer was found."""
        return "no answer"

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of its JSON form: {"answer": <text>} if nothing else is said."""
        return answer_object({"type": "string"})

    def to_json(self, target: str) -> str:
        """Return a target in its JSON form."""
        return json.dumps({"answer": target}, ensure_ascii=False)

    def parse_json(self, text: str) -> str | None:
        """Return the answer in an output that should be its JSON form; None where it is not."""
        answer = answer_in(text)
        return None if answer is None else self.parse(answer)

    def read_json(self, text: str) -> Reading:
        """Return the answer in an output that should be its JSON form. Without JSON it is read where there is a list of
        answers: what is one of them is no mistake."""
        found = read_document(text, self.parse_json)
        if found.answer is not None or not self.classes:
            return found
        plain = self.read(text)
        missing = [] if "json" in plain.leniencies else ["no_json"]
        return Reading(plain.answer, in_order([*plain.leniencies, *missing])) if plain.answer is not None else NO_ANSWER

    def contained_in(self, target: str, text: str) -> bool | None:  # noqa: ARG002
        """Return whether a text holds the target; None where that says nothing."""
        return None


class ScoredAnswer(Protocol):
    """A record of an answer: `whether.records.Prediction`, `CurveAnswer`."""

    @property
    def answer(self) -> str | None: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102


def score_answer(kind: OutputKind, answer: str | None, target: str) -> float:
    """Return 1.0 if an answer that was understood is right, else 0.0."""
    return float(answer is not None and answer == kind.canonical(target))


def answers_and_targets(kind: OutputKind, rows: Iterable[ScoredAnswer]) -> tuple[list[str | None], list[str]]:
    """Return what was understood, and the targets as equal answers read: what metrics of answers are made from."""
    answers = [(row.answer, kind.canonical(row.target)) for row in rows]
    return [answer for answer, _ in answers], [target for _, target in answers]


def answer_object(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an object whose only key is `answer`."""
    return {"type": "object", "properties": {"answer": answer}, "required": ["answer"], "additionalProperties": False}


def schema_constraint(schema: Mapping[str, Any]) -> JsonSchema:
    """Return the constraint to a schema, the keys of objects in the order in which targets are written: sorted.

    A model writes keys in the order of the schema's `properties`. In another order than that of demonstrations and
    training targets it would have to write what it has not learnt.
    """
    return JsonSchema(json.loads(json.dumps(schema, sort_keys=True)))


def answer_in(text: str) -> str | None:
    """Return the string in {"answer": <string>}; None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    answer = value.get("answer") if isinstance(value, dict) and len(value) == 1 else None
    return answer if isinstance(answer, str) else None
