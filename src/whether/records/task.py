"""What prepare and the arms write: the task, its examples, and the answers to them."""

from dataclasses import dataclass, field
from typing import Any, Literal

Split = Literal["train", "dev", "test", "recent", "unseen"]
"""`recent`: the newest labelled rows that retraining holds out; empty where no row has arrived since the beginning.
`unseen`: rows whose labels are left out of the others (`task.unseen_labels`)."""


LENIENCIES = {
    "thought": "a block of thought before the answer",
    "end_token": "tokens that begin or end a turn",
    "tag": "a tag around the answer",
    "fence": "a code fence around the answer",
    "json": "JSON around the answer",
    "surroundings": "text around JSON",
    "no_json": "no JSON, where it was asked for",
    "markup": "Markdown, a list mark, brackets or invisible characters",
    "punctuation": "typographic quotes, or punctuation of another script",
    "prefix": "a name or the beginning of a sentence before the answer",
    "explanation": "an explanation before or after the answer",
    "unicode_form": "another Unicode form of the same letters",
    "letter_case": "other letter case",
    "word_separator": "another sign between words",
}
"""Each leniency by its name in records, and what was around or other in the output."""


@dataclass(frozen=True)
class Example:
    """One row of a task: a line of artifacts/prepare/{train,dev,test}.jsonl."""

    id: str
    """Unique over all splits."""
    inputs: dict[str, str]
    """Prompt variable → text, as the task's `inputs` names them."""
    target: str
    """The right answer as text; canonical JSON for a `json` task."""
    group: str | None = None
    """What it belongs to: its near-duplicates, and a customer or a document where the task's `group` names a column."""


@dataclass(frozen=True)
class Task:
    """What has to be done: artifacts/prepare/task.json."""

    name: str
    output: str
    """Its output kind by name, a file of conf/output: `label`, `text`, `json` or one of the user's own."""
    metric: str | None
    """The primary metric, by its name in conf/metric; None: the first one that the settings select and answers have."""
    instruction: str
    """What a prompt asks the model to do; plain text."""
    input_template: str
    """Sandboxed Jinja over `Example.inputs`: how one input reads in a prompt."""
    labels: list[str]
    """The possible answers, in a fixed order, where the output kind can list them; empty for others."""
    schema: dict[str, Any] | None
    """JSON Schema (2020-12) that a valid answer of a `json` task satisfies."""
    answer_pattern: str | None
    """Regular expression; a `text` answer is its first match in the output (its first group, if it has one)."""
    max_new_tokens: int
    """Most tokens that an answer may take."""
    definitions: dict[str, str] = field(default_factory=dict)
    """Label → what it means, for prompts that say it."""
    inputs: list[str] = field(default_factory=list)
    """The keys of `Example.inputs`."""
    output_settings: dict[str, Any] = field(default_factory=dict)
    """`_target_` and settings of the output kind; empty in a record of before 0.2, where `output` says it all."""


@dataclass(frozen=True)
class Prediction:
    """One answer of one arm: a line of artifacts/score/<arm>/predictions.jsonl."""

    id: str
    """`Example.id`."""
    split: Split
    output: str
    """What the model wrote, untouched."""
    answer: str | None
    """What was understood: a label, the text, or canonical JSON; None if no answer was found."""
    target: str
    score: float
    """In [0, 1]; 1.0 is right."""
    valid: bool
    """Whether the output has the form that the task asks for."""
    prompt: str
    """The rendered prompt, chat template included."""
    input_tokens: int | None
    """Tokens of the whole prompt; like the next two, None where a server does not report them."""
    cached_tokens: int | None
    """Of these, how many were computed once for many requests (the shared prefix)."""
    output_tokens: int | None
    seconds: float
    """This request's share of its batch's wall time."""
    samples: list[str | None] | None = None
    """What each of several drawn answers was understood as, where the arm votes."""
    retrieved: bool | None = None
    """Whether the passages that the prompt shows hold the answer; None where it shows none, or that is not known."""
    leniencies: list[str] = field(default_factory=list)
    """What it took to read the answer in an output that has not the form asked for (`LENIENCIES`): names such as
    `markup`. Empty where it has that form, where there is no answer, and in records of before 0.7."""

    error: str | None = None
    """Why the arm could not answer, such as a prompt that is too long; then it counts as wrong, and says nothing of the
    form of outputs, of tokens and of seconds."""

    @property
    def computed_tokens(self) -> int | None:
        """Tokens of the prompt that were left to compute."""
        if self.input_tokens is None or self.cached_tokens is None:
            return None
        return self.input_tokens - self.cached_tokens
