"""From what a model wrote to an answer, and whether it is right. One rule for each kind of output:

label   the first line that is not blank, without quotes around it and punctuation after it, is one of the labels; upper
        and lower case count as one unless two labels differ by nothing else
text    the first match of `answer_pattern` (its first group that is not empty, if it has groups), or without a pattern
        the first line that is not blank; white space around it is cut off; right if equal to the target to the letter
json    the whole output, white space around it apart, is strict JSON (no code fence, no NaN) that fits the schema;
        right if equal to the target in canonical form

The rules for `label` and `text` are one regular expression each, so that they are also lm-eval filters
(whether.prompt.lm_eval_export).
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from whether.records import Task

Reader = Callable[[str], str | None]
FIRST_LINE = r"\A\s*([^\n]+)"


class Parsed(NamedTuple):
    """What was understood of one output."""

    answer: str | None
    """A label as the task spells it, the text, or canonical JSON; None if the output has not the form asked for."""
    score: float
    """1.0 if the answer is right, else 0.0."""

    @property
    def valid(self) -> bool:
        """Whether the output has the form that the task asks for."""
        return self.answer is not None


def parser(task: Task) -> Callable[[str, str], Parsed]:
    """Return a function of (output, target) for a task."""
    read = reader(task)
    return lambda output, target: score_answer(task, read(output), target)


def score_answer(task: Task, answer: str | None, target: str) -> Parsed:
    """Return an answer that was understood, with its score."""
    right = canonical_json(json.loads(target)) if task.output == "json" else target.strip()
    return Parsed(answer, float(answer == right))


def reader(task: Task) -> Reader:
    """Return the function that finds a task's answer in an output; None where it has not the form asked for."""
    if task.output == "json":
        return json_reader(task.schema or {})
    return _label_reader(task.labels) if task.output == "label" else _text_reader(task.answer_pattern)


def ignores_case(labels: Sequence[str]) -> bool:
    """Return whether labels stay different when case is ignored."""
    return len({label.lower() for label in labels}) == len(labels)


def label_pattern(labels: Sequence[str]) -> str:
    """Return the regular expression whose group is the label that an output names."""
    choices = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    flags = "(?i)" if ignores_case(labels) else ""
    return rf"{flags}\A[\s\"'`]*({choices})[\s\"'`.,;:!?]*?(?:\n|\Z)"


def text_pattern(answer_pattern: str | None) -> str:
    """Return the regular expression that finds a text answer."""
    return answer_pattern or FIRST_LINE


def canonical_json(value: Any) -> str:
    """Return a JSON value as text in one way only: sorted keys, no needless escapes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def json_reader(schema: dict[str, Any]) -> Reader:
    """Return a function from an output to its canonical JSON, or None if it is not JSON or does not fit the schema."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)

    def read(output: str) -> str | None:
        try:
            value = json.loads(output, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None
        return canonical_json(value) if validator.is_valid(value) else None

    return read


def answer_schema(task: Task) -> dict[str, Any]:
    """Return the JSON Schema of an answer; templates know its text as `schema`."""
    if task.output == "json":
        return task.schema or {}
    answer = {"enum": task.labels} if task.output == "label" else {"type": "string"}
    return {"type": "object", "properties": {"answer": answer}, "required": ["answer"], "additionalProperties": False}


def _label_reader(labels: Sequence[str]) -> Reader:
    pattern = re.compile(label_pattern(labels))
    flags = re.IGNORECASE if ignores_case(labels) else 0

    def read(output: str) -> str | None:
        found = pattern.search(output)
        if not found:
            return None
        return next(label for label in labels if re.fullmatch(re.escape(label), found[1], flags))

    return read


def _text_reader(answer_pattern: str | None) -> Reader:
    pattern = re.compile(text_pattern(answer_pattern))

    def read(output: str) -> str | None:
        found = pattern.search(output)
        if not found:
            return None
        groups = found.groups() or (found[0],)
        return next((group for group in groups if group), "").strip() or None

    return read


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
