"""`output: label`: one of a fixed set.

The form asked for: the first line that is not blank, without quotes around it and punctuation after it, is one of the
labels; upper and lower case count as one unless two labels differ by nothing else. What an output of another form
answers is read by `whether.outputs.label_reading`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from whether.errors import near_matches
from whether.outputs.label_names import ignores_case
from whether.outputs.label_reading import LabelReader
from whether.outputs.output import OutputKind, OutputSettings, answer_object
from whether.outputs.phrases import is_explanation
from whether.outputs.reading import Reading


@dataclass(frozen=True)
class LabelOutput(OutputKind):
    """One of a fixed set of labels: the task's, or those in the data, which is where they are looked for first."""

    task: OutputSettings
    metrics = ()
    task_settings = ("labels", "definitions", "unseen_labels")

    @property
    def classes(self) -> Sequence[str]:
        """The labels; empty where they are not known yet."""
        return self.task.labels or ()

    def parse_target(self, text: str) -> str:
        """Return a label without white space around it. Raises ValueError for one that the task does not have."""
        label = text.strip()
        if self.task.labels is not None and label not in self.task.labels:
            raise ValueError(f"label {label!r} is not among task.labels{near_matches(label, self.task.labels)}")
        return label

    def parse(self, text: str) -> str | None:
        """Return the label that an output names."""
        found = self._pattern.search(text)
        if not found:
            return None
        signs, rest = found[2], text[found.end() :]
        if rest.strip() and ("?" in signs or (":" in signs and not is_explanation(":", rest))):
            return None  # it asks, or begins to say of each label whether it fits
        if found[1] in self.classes:
            return found[1]
        return next(label for label in self.classes if re.fullmatch(re.escape(label), found[1], re.IGNORECASE))

    def read(self, text: str) -> Reading:
        """Return the label that an output gives, in whatever form."""
        return self._reader.read(text)

    @cached_property
    def _pattern(self) -> "re.Pattern[str]":
        return re.compile(label_pattern(self.classes))

    @cached_property
    def _reader(self) -> LabelReader:
        return LabelReader(self.classes, self.parse)

    def canonical(self, target: str) -> str:
        """Return the label."""
        return target.strip()

    def violation(self, text: str) -> str:
        """Return whether an output named no label, one with text around it, or several."""
        named = [label for label in self.classes if re.search(rf"(?i)(?<!\w){re.escape(label)}(?!\w)", text)]
        return ("no label", "a label with text around it", "several labels")[min(len(named), 2)]

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of {"answer": <label>}."""
        return answer_object({"enum": list(self.classes)})


def label_pattern(labels: Sequence[str]) -> str:
    """Return the regular expression whose groups are the label that an output names, and the signs after it."""
    choices = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    flags = "(?i)" if ignores_case(labels) else ""
    return rf"{flags}\A[\s\"'`]*({choices})([\s\"'`.,;:!?]*?)(?:\n|\Z)"
