"""The kind of output that a task has."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from whether.outputs.json_output import JsonOutput
from whether.outputs.label import LabelOutput
from whether.outputs.output import OutputKind
from whether.outputs.text import TextOutput
from whether.records import OutputName


class OutputSettings(Protocol):
    """What of a task says how its answers read: `whether.records.Task`, and `whether.config.TaskConfig` too."""

    @property
    def output(self) -> OutputName: ...  # noqa: D102
    @property
    def labels(self) -> Sequence[str] | None: ...  # noqa: D102
    @property
    def answer_pattern(self) -> str | None: ...  # noqa: D102
    @property
    def schema(self) -> Mapping[str, Any] | None: ...  # noqa: D102


KINDS: dict[OutputName, Callable[[OutputSettings], OutputKind]] = {
    "label": lambda task: LabelOutput(task.labels),
    "text": lambda task: TextOutput(task.answer_pattern),
    "json": lambda task: JsonOutput(task.schema or {}),
}


def output_of(task: OutputSettings) -> OutputKind:
    """Return the kind of a task's output, with the task's settings."""
    return KINDS[task.output](task)
