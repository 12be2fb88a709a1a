"""`output: label`: one of a fixed set.

The first line that is not blank, without quotes around it and punctuation after it, is one of the labels; upper and
lower case count as one unless two labels differ by nothing else. The rule is one regular expression, so that it is also
an lm-eval filter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from whether.errors import near_matches
from whether.outputs.output import EXACT_MATCH, OutputKind, OutputSettings, answer_object, regex_filter


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
        flags = re.IGNORECASE if ignores_case(self.classes) else 0
        return next(label for label in self.classes if re.fullmatch(re.escape(label), found[1], flags))

    @cached_property
    def _pattern(self) -> "re.Pattern[str]":
        return re.compile(label_pattern(self.classes))

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

    def lm_eval(self) -> dict[str, Any]:
        """Return the filter and the metric."""
        ignored = {"ignore_case": True} if ignores_case(self.classes) else {}
        return {"metric_list": [EXACT_MATCH | ignored], "filter_list": regex_filter(label_pattern(self.classes))}


def ignores_case(labels: Sequence[str]) -> bool:
    """Return whether labels stay different when case is ignored."""
    return len({label.lower() for label in labels}) == len(labels)


def label_pattern(labels: Sequence[str]) -> str:
    """Return the regular expression whose group is the label that an output names."""
    choices = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    flags = "(?i)" if ignores_case(labels) else ""
    return rf"{flags}\A[\s\"'`]*({choices})[\s\"'`.,;:!?]*?(?:\n|\Z)"
