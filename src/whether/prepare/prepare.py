"""Rows become checked, distinct examples in three splits, and a profile. The folder that `prepare` fills holds

train.jsonl, dev.jsonl, test.jsonl     `records.Example`, a line each
recent.jsonl                           the same, of the newest collected rows, where there are any
task.json                              `records.Task`
unseen.jsonl, unseen_task.json         rows of `task.unseen_labels`, and the task with these labels; where there are any
profile.json                           see whether.prepare.profile
label_balance.svg, token_lengths.svg   the profile as pictures
rejected.jsonl                         `rows.Rejected`: line, reason, row or text
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whether.config import TaskConfig
from whether.config.output import output_component
from whether.errors import ConfigError, DataError, near_matches
from whether.outputs.kinds import output_of
from whether.prepare.collected import collected_file, partition, read_collected, rows_of_split, usable
from whether.prepare.duplicates import drop_duplicates, drop_near_duplicates
from whether.prepare.lengths import answer_length_check
from whether.prepare.plots import draw_profile
from whether.prepare.profile import describe_conflicts, describe_splits, token_lengths
from whether.prepare.rows import SourceRow, read_examples
from whether.prepare.splits import draw_sample, split
from whether.records import COLLECTED, Example, Task, to_builtins, write_json, write_jsonl


def prepare(task: TaskConfig, seed: int, *, model_folder: Path, folder: Path, collected: Path = COLLECTED) -> None:
    """Read, check, clean, sample, split and describe a task's rows, and add those that were collected since.

    The sample is drawn before near duplicates are dropped, a step whose cost is quadratic, so it may end up smaller
    than `max_rows`. Raises DataError for rows that do not fit the task or are too few, ConfigError for a task that
    does not fit them.
    """
    from transformers import AutoTokenizer

    # 1. Rows of the task's file, those that were collected since, and the labels of both.
    table = read_examples(task, answer_length_check(model_folder, task.max_new_tokens))
    file = collected_file(task, collected)
    arrived = usable(task, read_collected(file), file)
    later = [row for rows in arrived.values() for row in rows]
    labels = _labels(task, [*table.rows, *later])
    _check_unseen(task, labels)
    own_labels = _labels_of_source(labels, table.rows, later)
    # 2. Duplicates go before the sample is drawn, near duplicates after it. Collected rows are never sampled out.
    distinct = drop_duplicates([*table.rows, *later])
    own, kept_later = partition(distinct.kept, arrived)
    sample = draw_sample(own, task.max_rows, seed, own_labels)
    far = drop_near_duplicates([*sample, *kept_later], task.near_duplicate)
    own, fresh = partition(far.kept, arrived)
    # 3. The splits: own rows by chance, collected ones where they were put when they arrived.
    splits = split([row.example for row in own], task.splits, seed, own_labels)
    for name in ("train", "dev"):
        splits[name] += rows_of_split(name, fresh, arrived, splits["test"])
    recent = rows_of_split("recent", fresh, arrived, splits["test"])
    # 4. Rows of labels that are left out of everything but a test of their own.
    labels = _labels_with_examples(labels, far.kept, later)
    seen = [label for label in labels if label not in task.unseen_labels]
    unseen = [row for name in ("dev", "test") for row in splits[name] if row.target in task.unseen_labels]
    for rows in (*splits.values(), recent):
        rows[:] = [row for row in rows if row.target not in task.unseen_labels]

    # 5. The task as all later stages read it, and the profile.
    record = _task(task, seen)
    tokenizer = AutoTokenizer.from_pretrained(model_folder, local_files_only=True)
    lengths = token_lengths(tokenizer, record, far.kept)
    profile = {
        "rows": {
            "read": len(table.rows) + len(table.rejected),
            "collected": len(later),
            "bad": len(table.rejected),
            "duplicates": len(distinct.dropped),
            "not_sampled": len(distinct.kept) - len(kept_later) - len(sample),
            "near_duplicates": len(far.dropped),
            "recent": len(recent),
            "unseen": len(unseen),
            "used": len(far.kept),
        },
        "conflicts": describe_conflicts([*distinct.dropped, *far.dropped]),
        "splits": describe_splits(splits, record, lengths),
    }
    # 6. The files.
    for name, examples in splits.items():
        write_jsonl(folder / f"{name}.jsonl", map(_plain, examples))
    if recent:
        write_jsonl(folder / "recent.jsonl", map(_plain, recent))
    if unseen:
        write_jsonl(folder / "unseen.jsonl", map(_plain, unseen))
        write_json(folder / "unseen_task.json", _task(task, labels))
    write_json(folder / "task.json", record)
    write_json(folder / "profile.json", profile)
    write_jsonl(folder / "rejected.jsonl", (bad.record() for bad in table.rejected))
    draw_profile(folder, record, splits, profile, lengths)


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


def _labels_of_source(labels: list[str], rows: Sequence[SourceRow], later: Sequence[SourceRow]) -> list[str]:
    """Return the labels that the task's own file has to have examples of: not those that only came later."""
    came, own = {row.example.target for row in later}, {row.example.target for row in rows}
    return [label for label in labels if label in own or label not in came]


def _labels_with_examples(labels: list[str], kept: Sequence[SourceRow], later: Sequence[SourceRow]) -> list[str]:
    """Return the labels without those that only came later and whose rows all resemble others, so that none is left."""
    came, left = {row.example.target for row in later}, {row.example.target for row in kept}
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
