"""`output: json`: a JSON document that fits a schema, right if equal to the target in canonical form.

The form asked for: the whole output, except for white space around it, is strict JSON (no code fence, no NaN). Of an
output of another form the one document in it that fits the schema is read (`whether.outputs.json_reading`).
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

from whether.errors import ConfigError
from whether.outputs.json_reading import read_document
from whether.outputs.output import OutputKind, OutputSettings, schema_constraint
from whether.outputs.reading import NO_ANSWER, Reading, in_order
from whether.records import JsonSchema


@dataclass(frozen=True)
class JsonOutput(OutputKind):
    """JSON that fits the task's schema, a JSON Schema (2020-12)."""

    task: OutputSettings
    task_settings = ("schema",)
    structured = True
    json_tokens = 0

    @property
    def _schema(self) -> Mapping[str, Any]:
        return self.task.schema or {}

    @property
    def constraint(self) -> JsonSchema:
        """The task's schema."""
        return schema_constraint(self._schema)

    def check_settings(self) -> None:
        """Raise ConfigError where the schema is missing or none."""
        from jsonschema import Draft202012Validator, SchemaError

        if self.task.schema is None:
            raise ConfigError("task.schema is not set: output: json needs the JSON Schema of its answers")
        try:
            Draft202012Validator.check_schema(dict(self._schema))
        except SchemaError as error:
            raise ConfigError(
                f"task.schema is not a JSON Schema (2020-12): {error.message} at {error.json_path}"
            ) from None

    def parse_target(self, text: str) -> str:
        """Return canonical JSON. Raises ValueError for what is not JSON or does not fit the schema."""
        from jsonschema.exceptions import best_match

        try:
            value = json.loads(text, parse_constant=_refuse)
        except ValueError as error:
            raise ValueError(f"target {text!r:.80} is not JSON: {error}") from None
        problem = best_match(self._validator.iter_errors(value))
        if problem:
            raise ValueError(f"target does not fit task.schema: {problem.message} at {problem.json_path}")
        return canonical_json(value)

    def parse(self, text: str) -> str | None:
        """Return canonical JSON."""
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None
        return _compared(value) if self._validator.is_valid(value) else None

    def read(self, text: str) -> Reading:
        """Return the one document in an output that fits the schema."""
        found = read_document(text, self.parse)
        if found.answer is not None or text.isascii():
            return found
        found = read_document(unicodedata.normalize("NFC", text), self.parse)
        return Reading(found.answer, in_order([*found.leniencies, "unicode_form"])) if found.answer else NO_ANSWER

    @cached_property
    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator

        return Draft202012Validator(dict(self._schema))

    def canonical(self, target: str) -> str:
        """Return canonical JSON."""
        return _compared(json.loads(target))

    def violation(self, text: str) -> str:
        """Return whether an output is not JSON, has text around it, or breaks the schema and where."""
        return json_violation(text, dict(self._schema))

    def json_schema(self) -> dict[str, Any]:
        """Return the schema."""
        return dict(self._schema)

    def to_json(self, target: str) -> str:
        """Return the target."""
        return target

    def parse_json(self, text: str) -> str | None:
        """Return canonical JSON."""
        return self.parse(text)

    def read_json(self, text: str) -> Reading:
        """Return the one document in an output that fits the schema."""
        return self.read(text)


def canonical_json(value: Any) -> str:
    """Return a JSON value as text in one way only: sorted keys, no needless escapes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _compared(value: Any) -> str:
    """Return canonical JSON whose letters are composed (NFC)."""
    return unicodedata.normalize("NFC", canonical_json(value))


def json_violation(text: str, schema: dict[str, Any]) -> str:
    """Return in a few words why a text is not a document that fits a schema."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "JSON with text around it" if re.search(r"\{.*\}", text, re.DOTALL) else "not JSON"
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    if error is None:
        return "JSON that is not strict"
    return f"breaks the schema: {error.validator} at {error.json_path}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
