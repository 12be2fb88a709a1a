"""`output: text`: free text, right if equal to the target to the letter.

The first match of `answer_pattern` (its first group that is not empty, if it has groups), or without a pattern the
first line that is not blank; white space around it is cut off.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from whether.outputs.output import EXACT_MATCH, OutputKind, OutputSettings, regex_filter

FIRST_LINE = r"\A\s*([^\n]+)"


@dataclass(frozen=True)
class TextOutput(OutputKind):
    """A text that the task's pattern finds, or the first line."""

    task: OutputSettings
    task_settings = ("answer_pattern",)

    def parse_target(self, text: str) -> str:
        """Return a text without white space around it.

        Raises ValueError for one that the task's own pattern would not find whole: it could never be right.
        """
        target = text.strip()
        answer = self.parse(target) or ""
        if answer != target:
            pattern = self.task.answer_pattern
            rule = f"task.answer_pattern {pattern!r}" if pattern else "the rule that an answer is one line"
            raise ValueError(f"target {target!r:.80} does not fit {rule}, which would read {answer!r:.80}")
        return target

    def parse(self, text: str) -> str | None:
        """Return what the pattern finds."""
        found = self._pattern.search(text)
        if not found:
            return None
        groups = found.groups() or (found[0],)
        return next((group for group in groups if group), "").strip() or None

    @cached_property
    def _pattern(self) -> "re.Pattern[str]":
        return re.compile(text_pattern(self.task.answer_pattern))

    def canonical(self, target: str) -> str:
        """Return the text."""
        return target.strip()

    def violation(self, text: str) -> str:  # noqa: ARG002
        """Return that nothing was found."""
        return "answer_pattern not found" if self.task.answer_pattern else "no answer"

    def contained_in(self, target: str, text: str) -> bool | None:
        """Return whether a text holds the target, upper and lower case being one."""
        return target.casefold() in text.casefold()

    def lm_eval(self) -> dict[str, Any]:
        """Return the filter and the metric."""
        return {"metric_list": [EXACT_MATCH], "filter_list": regex_filter(text_pattern(self.task.answer_pattern))}


def text_pattern(answer_pattern: str | None) -> str:
    """Return the regular expression that finds a text answer."""
    return answer_pattern or FIRST_LINE
