"""One label, one spelling: labels that differ only by case, white space or Unicode form are most likely the same."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from whether.config import TaskConfig
from whether.errors import ConfigError, DataError
from whether.outputs.kinds import output_of
from whether.prepare.rows import SourceRow
from whether.prepare.spelling import folded, shown, variants

SHOWN = 5
"""Labels with variants that an error message names."""


def one_spelling(task: TaskConfig, own: Sequence[SourceRow], later: Sequence[SourceRow] = ()) -> dict[str, str]:
    """Return label → label for the variants among the answers of a task's rows.

    The most frequent spelling in the task's own file stays. Where `task.labels` says which labels there are, they are
    as they are. Raises DataError for variants that the task does not ask to merge, ConfigError where it has no labels
    to merge.
    """
    if output_of(task).classes is None:
        if task.normalise_labels:
            raise ConfigError(f"task.normalise_labels: output: {task.output} has no list of labels; leave it out")
        return {}
    if task.labels is not None:
        return {}
    counts = Counter(row.example.target for row in own)
    later_counts = Counter(row.example.target for row in later)
    found = variants([*counts, *later_counts])
    if found and not task.normalise_labels:
        raise DataError(_message(task, found, counts + later_counts, own))
    chosen = [max(same, key=lambda label: (counts[label], later_counts[label], label)) for same in found]
    return {label: kept for kept, same in zip(chosen, found, strict=True) for label in same if label != kept}


def respelled(rows: Sequence[SourceRow], spelling: Mapping[str, str]) -> list[SourceRow]:
    """Return rows with one spelling of each label."""
    if not spelling:
        return list(rows)
    return [
        row._replace(example=replace(row.example, target=spelling[row.example.target]))
        if row.example.target in spelling
        else row
        for row in rows
    ]


class LabelSpelling:
    """The labels that are known, as they are spelled, for rows that arrive later."""

    def __init__(self, task: TaskConfig, labels: Sequence[str]):
        self._merges = task.normalise_labels
        self._has_labels = output_of(task).classes is not None
        self._known = {folded(label): label for label in task.labels or labels}
        self._all = {*(task.labels or labels)}

    def known(self, label: str) -> str:
        """Return the label as it is known, where the task merges variants."""
        return self._known.get(folded(label), label) if self._merges and self._has_labels else label

    def add(self, label: str | None) -> None:
        """Know a label from now on, unless a variant of it is known."""
        if label is not None and self._has_labels:
            self._known.setdefault(folded(label), label)
            self._all.add(label)

    def check(self, label: str | None) -> None:
        """Know a label from now on. Raises ValueError for another spelling of one that is known."""
        if label is not None and self._has_labels and label not in self._all:
            other = self._known.get(folded(label), label)
            if other != label:
                raise ValueError(
                    f"label {shown(label)} differs from {shown(other)} only by case, white space or Unicode form:"
                    " correct the row, or write `normalise_labels: true` into the task, and put it into the inbox again"
                )
            self.add(label)


def _message(task: TaskConfig, found: list[list[str]], counts: Counter[str], own: Sequence[SourceRow]) -> str:
    lines: dict[str, int] = {}
    for row in own:
        lines.setdefault(row.example.target, row.line)

    def one(label: str) -> str:
        where = f", first in line {lines[label]}" if label in lines else ", collected"
        return f"{shown(label)} ({counts[label]} rows{where})"

    texts = [f"  {', '.join(map(one, same))}" for same in found[:SHOWN]]
    if len(found) > SHOWN:
        texts.append(f"  … and {len(found) - SHOWN} more")
    return (
        f"{task.source.path}: labels differ only by case, white space or Unicode form, and are probably the same:\n"
        + "\n".join(texts)
        + "\nWrite `normalise_labels: true` into the task (task.normalise_labels=true) to merge them under the most"
        " frequent spelling, or correct the data; if they are different labels, list them in task.labels"
    )
