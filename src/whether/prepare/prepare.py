"""Rows become checked, distinct examples in three splits, and a profile. The folder that `prepare` fills holds

train.jsonl, dev.jsonl, test.jsonl     `records.Example`, a line each
recent.jsonl                           the same, of the newest collected rows, where there are any
task.json                              `records.Task`
unseen.jsonl, unseen_task.json         rows of `task.unseen_labels`, and the task with these labels; where there are any
profile.json                           see whether.prepare.profile
label_balance.svg, token_lengths.svg   the profile as pictures
rejected.jsonl                         `rows.Rejected`: line, reason, row or text
lines.jsonl                            `records.RowPlace`: where each example of a split stands in the data
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from whether.config import TaskConfig
from whether.config.output import output_component
from whether.errors import ConfigError, DataError, near_matches
from whether.outputs.kinds import output_of
from whether.prepare.clean import Cleaned, Rows, clean, read_all
from whether.prepare.collected import Arrived, collected_file
from whether.prepare.gaps import SPLITS
from whether.prepare.left_out import last_lines, warnings
from whether.prepare.lengths import answer_length_check
from whether.prepare.plots import draw_profile
from whether.prepare.profile import (
    describe_conflicts,
    describe_near_duplicates,
    describe_splits,
    describe_units,
    token_lengths,
)
from whether.prepare.rows import SourceRow
from whether.records import COLLECTED, Example, RowPlace, Task, to_builtins, write_json, write_jsonl

logger = logging.getLogger(__name__)


def prepare(task: TaskConfig, seed: int, *, model_folder: Path, folder: Path, collected: Path = COLLECTED) -> None:
    """Read, check, clean, sample, split and describe a task's rows, and add those that were collected since.

    What was left out, and what a person should know of the data, is logged. Raises DataError for rows that do not fit
    the task or are too few, ConfigError for a task that does not fit them.
    """
    from transformers import AutoTokenizer

    # 1. Rows, labels, and what is used of them.
    read = read_all(task, collected, answer_length_check(model_folder, task.max_new_tokens))
    labels = _labels(task, read.rows)
    _check_unseen(task, labels)
    cleaned = clean(task, seed, read, labels)
    # 2. Rows of labels that are left out of everything but a test of their own.
    splits = cleaned.splits
    labels = _labels_with_examples(labels, cleaned.rows, read.later)
    seen = [label for label in labels if label not in task.unseen_labels]
    unseen = [row for name in ("dev", "test") for row in splits[name] if row.target in task.unseen_labels]
    for rows in splits.values():
        rows[:] = [row for row in rows if row.target not in task.unseen_labels]
    recent = splits.pop("recent")

    # 3. The task as all later stages read it, and the profile.
    record = _task(task, seen)
    tokenizer = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    lengths = token_lengths(tokenizer, record, cleaned.rows)
    profile = _profile(task, read, cleaned)
    profile["rows"] |= {"recent": len(recent), "unseen": len(unseen), "used": len(cleaned.rows)}
    profile |= {"units": describe_units(splits), "splits": describe_splits(splits, record, lengths)}
    profile |= {"warnings": warnings(profile), "notes": list(last_lines(profile))}
    # 4. The files, and what a person should know.
    for name, examples in (splits | {"recent": recent, "unseen": unseen}).items():
        if examples or name in SPLITS:
            write_jsonl(folder / f"{name}.jsonl", map(_plain, examples))
    if unseen:
        write_json(folder / "unseen_task.json", _task(task, labels))
    write_json(folder / "task.json", record)
    write_json(folder / "profile.json", profile)
    write_jsonl(folder / "rejected.jsonl", (bad.record() for bad in read.rejected))
    write_jsonl(folder / "lines.jsonl", _places(task, cleaned, collected_file(task, collected)))
    draw_profile(folder, record, splits, profile, lengths)
    _log(profile)


def _places(task: TaskConfig, cleaned: Cleaned, collected: Path) -> Iterator[RowPlace]:
    """Yield where each row that is used stands."""
    for row in cleaned.own:
        yield RowPlace(row.example.id, str(task.source.path), row.line)
    for arrived in cleaned.later:
        yield RowPlace(arrived.row.example.id, str(collected), arrived.row.line)


def _log(profile: dict[str, Any]) -> None:
    for line in profile["notes"]:
        logger.info("%s", line)
    for line in profile["warnings"]:
        logger.warning("WARNING: %s See artifacts/prepare/profile.json.", line)


def _profile(task: TaskConfig, read: Rows, cleaned: Cleaned) -> dict[str, Any]:
    """Return what the profile says of the rows as a whole."""
    counts = {reason: cleaned.left_out[reason]["count"] for reason in cleaned.left_out}
    return {
        "rows": {"read": len(read.own) + len(read.rejected), "collected": len(read.later), **counts},
        "left_out": cleaned.left_out,
        "conflicts": describe_conflicts(cleaned.rows, cleaned.splits["test"]),
        "near_duplicates": describe_near_duplicates(
            cleaned.rows, cleaned.clusters, cleaned.templates, task.near_duplicate
        ),
    }


def _plain(example: Example) -> dict[str, Any]:
    """Return an example's line; a task without groups has no such key."""
    line: dict[str, Any] = to_builtins(example)
    return line if example.group is not None else {key: value for key, value in line.items() if key != "group"}


def _labels(task: TaskConfig, rows: Sequence[SourceRow]) -> list[str]:
    """Return the labels of a label task: those of the task, else those in the data; none for other tasks."""
    if output_of(task).classes is None:
        return []
    found = sorted({row.example.target for row in rows})
    if len(found) < 2:
        raise DataError(f"{task.source.path}: every row has the label {', '.join(map(repr, found))}; nothing to decide")
    return task.labels or found


def _check_unseen(task: TaskConfig, labels: list[str]) -> None:
    for label in task.unseen_labels:
        if label not in labels:
            raise ConfigError(f"task.unseen_labels: no row has the label {label!r}{near_matches(label, labels)}")
    if task.unseen_labels and len({*labels} - {*task.unseen_labels}) < 2:
        raise ConfigError("task.unseen_labels: at least two labels have to be left")


def _labels_with_examples(labels: list[str], kept: Sequence[SourceRow], later: Sequence[Arrived]) -> list[str]:
    """Return the labels without those that only came later and whose rows all resemble others, so that none is left."""
    came, left = {arrived.row.example.target for arrived in later}, {row.example.target for row in kept}
    return [label for label in labels if label in left or label not in came]


def _task(task: TaskConfig, labels: list[str]) -> Task:
    if "{labels}" in task.instruction and not labels:
        raise ConfigError(
            f"task.instruction holds {{labels}}, and the answers of output: {task.output} cannot be listed: write out"
            " there what it should say"
        )
    return Task(
        name=task.name,
        output=task.output,
        output_settings=output_component(task.output, task.output_settings, "task"),
        metric=task.metric,
        instruction=task.instruction.replace("{labels}", ", ".join(labels)),
        input_template=task.input_template,
        labels=labels,
        schema=task.schema,
        answer_pattern=task.answer_pattern,
        max_new_tokens=task.max_new_tokens,
        definitions={label: text for label, text in task.definitions.items() if label in labels},
        inputs=list(task.inputs),
    )
