"""How much an arm depends on its format and on chance: what is asked to see it, and what was found."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AliasChoices, Field

from whether.records.task import Task


@dataclass(frozen=True)
class FormatRecord:
    """One other format that is tried."""

    name: str
    task: Task
    """The task as it reads in this format: its labels and its length of answers are what answers are read by."""
    labels: dict[str, str]
    """The task's label → how it is spelt in this format; empty where labels are unchanged."""

    def original(self, answer: str | None) -> str | None:
        """Return an answer with its label spelt as in the task."""
        back = {spelt: label for label, spelt in self.labels.items()}
        return answer if answer is None else back.get(answer, answer)


@dataclass(frozen=True)
class FormatPlan:
    """What formats.jsonl asks: artifacts/prompt/<prompt>/formats.json. Empty: robustness is not measured."""

    examples: list[str] = field(default_factory=list)
    """`Example.id` of a part of dev, the same for every arm."""
    formats: list[FormatRecord] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Name of a format that is not tried with this prompt → why."""
    samples: int | None = None
    """Sampled answers to each example; None: none are asked."""
    temperature: float | None = None


@dataclass(frozen=True)
class FormatScore:
    """One other format of an arm."""

    score: float
    """Mean score on the subset."""
    changed: float
    """Share of the subset's answers that are not those in the arm's own format."""


@dataclass(frozen=True)
class Robustness:
    """What was measured on a fixed subset of dev. None: not measured, or it cannot be.

    An earlier version wrote `repeatability`, `variations` and `left_out`; they are read, and never written.
    """

    examples: int
    """Size of the subset."""
    score: float
    """Mean score in the arm's own format."""
    batch_invariance: Annotated[float, Field(validation_alias=AliasChoices("batch_invariance", "repeatability"))]
    """Share of answers that were the same when they were asked again with other requests in the batch."""
    formats: Annotated[dict[str, FormatScore], Field(validation_alias=AliasChoices("formats", "variations"))] = field(
        default_factory=dict
    )
    """Name of a format that keeps the meaning → what it does."""
    skipped: Annotated[dict[str, str], Field(validation_alias=AliasChoices("skipped", "left_out"))] = field(
        default_factory=dict
    )
    """Name of a format that was not tried on this arm → why."""
    sensitivity_spread: float | None = None
    """Best minus worst mean score over all formats, the arm's own among them (FormatSpread)."""
    sensitivity_worst: float | None = None
    """The worst mean score."""
    sensitivity_deviation: float | None = None
    """Standard deviation of the mean scores."""
    samples: int | None = None
    """Sampled answers to each example."""
    temperature: float | None = None
    consistency: float | None = None
    """Share of pairs of sampled answers to one example that are equal, invalid ones counted as one answer."""
    majority_score: float | None = None
    """Mean score of the answer that was sampled most often."""
    answer_entropy: float | None = None
    """Entropy of the sampled answers to one example in bits, the mean over examples."""


@dataclass(frozen=True)
class Violation:
    """One way in which outputs did not have the form asked for."""

    kind: str
    """In a few words."""
    count: int
    outputs: list[str]
    """The first few, as they were written."""


@dataclass(frozen=True)
class Adherence:
    """Outputs of dev and test that did not have the form asked for: artifacts/score/<arm>/adherence.json."""

    n: int
    """Outputs."""
    violations: list[Violation]
    """The most frequent first; empty where every output had the form asked for."""
    leniencies: dict[str, int] = field(default_factory=dict)
    """Leniency (`whether.records.LENIENCIES`) → outputs whose answer could not be read without it, the most frequent
    first."""
