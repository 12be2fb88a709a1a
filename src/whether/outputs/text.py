"""`output: text`: free text, right if equal to the target to the letter.

The first match of `answer_pattern` (its first group that is not empty, if it has groups), or without a pattern the
first line that is not blank; white space around it is cut off. A block of thought and tokens that end a turn are left
out, unless the pattern itself speaks of them. Texts are compared in Unicode's composed form (NFC).
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from whether.outputs.output import OutputKind, OutputSettings
from whether.outputs.reading import Reading, cleaned, read_leniently

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
        answer = self.read(target).answer or ""
        if answer != composed(target):
            pattern = self.task.answer_pattern
            rule = f"task.answer_pattern {pattern!r}" if pattern else "the rule that an answer is one line"
            rule += ", and without a block of thought" if cleaned(target).leniencies else ""
            raise ValueError(f"target {target!r:.80} does not fit {rule}, which would read {answer!r:.80}")
        return target

    def parse(self, text: str) -> str | None:
        """Return what the pattern finds."""
        found = self._pattern.search(text)
        if not found:
            return None
        groups = found.groups() or (found[0],)
        return composed(next((group for group in groups if group), "").strip()) or None

    def read(self, text: str) -> Reading:
        """Return what the pattern finds after a block of thought and before a token that ends a turn."""
        if re.search(r"think|<\\?\||</?s>", self.task.answer_pattern or ""):
            return Reading(self.parse(text))
        return read_leniently(text, self.parse)

    @cached_property
    def _pattern(self) -> "re.Pattern[str]":
        return re.compile(text_pattern(self.task.answer_pattern))

    def canonical(self, target: str) -> str:
        """Return the text, composed."""
        return composed(target.strip())

    def violation(self, text: str) -> str:
        """Return that nothing was found, or what was around it."""
        if cleaned(text).leniencies:
            return "thought or tokens of a turn around the answer"
        return "answer_pattern not found" if self.task.answer_pattern else "no answer"

    def contained_in(self, target: str, text: str) -> bool | None:
        """Return whether a text holds the target, upper and lower case being one."""
        return target.casefold() in text.casefold()


def composed(text: str) -> str:
    """Return a text in Unicode's composed form (NFC): a letter and its accent are one character where there is one."""
    return unicodedata.normalize("NFC", text)


def text_pattern(answer_pattern: str | None) -> str:
    """Return the regular expression that finds a text answer."""
    return answer_pattern or FIRST_LINE
