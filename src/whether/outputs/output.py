"""What a kind of output knows: how its targets and answers read, what is wrong with one, what it can be held to."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class OutputKind(Protocol):
    """One kind of output, with the settings of one task."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Quality metrics that it has, the mean score first."""
        ...

    @property
    def structured(self) -> bool:
        """Whether a target may stand in the data as an object or a list."""
        ...

    @property
    def json_tokens(self) -> int:
        """Tokens that its JSON form takes beyond the answer."""
        ...

    @property
    def classes(self) -> Sequence[str] | None:
        """The answers that there are, to stratify by, to balance, to constrain to; None: they cannot be listed."""
        ...

    def check_settings(self) -> None:
        """Raise ConfigError for settings that no answer could be read by."""
        ...

    def parse_target(self, text: str) -> str:
        """Return a target as it is used, from the text that the data holds. ValueError says why it cannot be."""
        ...

    def parse(self, text: str) -> str | None:
        """Return the answer in what a model wrote; None where it has not the form asked for."""
        ...

    def canonical(self, target: str) -> str:
        """Return a target as an equal answer reads."""
        ...

    def violation(self, text: str) -> str:
        """Return in a few words what is wrong with an output in which no answer was found."""
        ...

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of its JSON form."""
        ...

    def to_json(self, target: str) -> str:
        """Return a target in its JSON form."""
        ...

    def parse_json(self, text: str) -> str | None:
        """Return the answer in an output that should be its JSON form; None where it is not."""
        ...

    def contained_in(self, target: str, text: str) -> bool | None:
        """Return whether a text holds the target; None where that says nothing."""
        ...

    def lm_eval(self) -> dict[str, Any]:
        """Return the keys of a stock lm-eval task that read and score it: `metric_list`,
        `filter_list` if any, and `process_results` as the dotted path of a function."""
        ...


class ParsedAnswer(NamedTuple):
    """What was understood of one output."""

    answer: str | None
    """A label as the task spells it, the text, or canonical JSON; None if the output has not the form asked for."""
    score: float
    """1.0 if the answer is right, else 0.0."""

    @property
    def valid(self) -> bool:
        """Whether the output has the form that the task asks for."""
        return self.answer is not None


def score_answer(kind: OutputKind, answer: str | None, target: str) -> ParsedAnswer:
    """Return an answer that was understood, with its score."""
    return ParsedAnswer(answer, float(answer is not None and answer == kind.canonical(target)))


def regex_filter(pattern: str) -> list[dict[str, Any]]:
    """Return lm-eval's `filter_list` that takes the first match of a regular expression."""
    steps = [{"function": "regex", "regex_pattern": pattern}, {"function": "take_first"}]
    return [{"name": "answer", "filter": steps}]
