"""What a checkpoint is tuned on: artifacts/training_set/<checkpoint>/.

training_set.json              `TrainingSet`
train.jsonl, dev.jsonl         `TrainingExample`, a line each: TRL's conversational prompt-completion format
"""

from dataclasses import dataclass, field
from typing import Any

from whether.records.request import Message


@dataclass(frozen=True)
class TrainingSet:
    """What of a task tuning reads. It has no metric and no length of answers: changing those retrains nothing."""

    name: str
    """Of the task."""
    output: str
    """Name of its output kind, for messages."""
    labels: list[str] = field(default_factory=list)
    """Classes, for a linear probe and for balanced batches; empty where the task has none."""
    instruction: str = ""
    """The task's, for tuners that begin with its words."""


@dataclass(frozen=True)
class TrainingExample:
    """One example as it is asked, and the answer that is learnt."""

    id: str
    prompt: list[Message]
    completion: list[Message]
    """One message of the assistant."""
    label: str | None = None
    """Its class; None where the task has none."""

    @property
    def answer(self) -> str:
        """The text that is learnt."""
        return self.completion[0].content

    def as_line(self) -> dict[str, Any]:
        """Return it as a line of train.jsonl or dev.jsonl."""
        line: dict[str, Any] = {
            "id": self.id,
            "prompt": [message._asdict() for message in self.prompt],
            "completion": [message._asdict() for message in self.completion],
        }
        return line if self.label is None else line | {"label": self.label}
