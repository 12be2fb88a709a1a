"""From the rows of a file to checked inputs and targets; what does not fit is set aside with line and reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from whether.chat.templates import render_template
from whether.config import TaskConfig
from whether.errors import DataError, near_matches
from whether.outputs.kinds import output_of
from whether.outputs.output import OutputKind
from whether.prepare.spelling import known_spelling
from whether.records import Example, sha256_json
from whether.sources.tables import location, read_rows

SHOWN = 5
"""Bad rows that an error message names."""


class SourceRow(NamedTuple):
    """A row that fits the task."""

    line: int
    """In its file, from 1."""
    example: Example
    """Its id is the hash of its inputs, so it stays the same when rows are added or moved."""


class Rejected(NamedTuple):
    """A row that does not: a line of artifacts/prepare/rejected.jsonl."""

    line: int
    reason: str
    row: dict[str, Any]


class Table(NamedTuple):
    """What was read."""

    rows: list[SourceRow]
    rejected: list[Rejected]


def read_examples(task: TaskConfig) -> Table:
    """Read and check every row of a task's source.

    Raises DataError for a column that is not there, and for more than `max_bad_rows` bad rows, naming the first five.
    A file that is broken as a file (not JSON, a row with too many fields) is always an error: what follows cannot be
    trusted.
    """
    path = Path(task.source.path)
    read = example_reader(task, path)
    table = Table([], [])
    for line, columns in read_rows(path):
        if not table.rows and not table.rejected:
            _require_columns(task, columns, path)
        try:
            table.rows.append(SourceRow(line, read(columns)))
        except ValueError as error:
            table.rejected.append(Rejected(line, str(error), columns))
            if len(table.rejected) >= max(task.max_bad_rows + 1, SHOWN):
                break
    if len(table.rejected) > task.max_bad_rows:
        shown = [f"  {location(path, bad.line)}: {bad.reason}" for bad in table.rejected[:SHOWN]]
        raise DataError(
            f"{path} has more bad rows than task.max_bad_rows={task.max_bad_rows} allows; correct them, or allow"
            " more to be set aside:\n" + "\n".join(shown)
        )
    return table


def example_reader(task: TaskConfig, path: Path) -> Callable[[dict[str, Any]], Example]:
    """Return what makes an example of a row's columns; a ValueError says why a row does not fit the task."""
    kind, spell = output_of(task), known_spelling(task)

    def read(columns: dict[str, Any]) -> Example:
        inputs = read_inputs(task, columns)
        target = kind.parse_target(spell(target_text(task, columns, path, kind)))
        if not isinstance(target, str):
            raise ValueError(
                f"{type(kind).__qualname__} (output: {task.output}) reads its target as {target!r}, no text"
            )
        return Example(example_id(inputs), inputs, target, _group(task, columns))

    return read


def example_id(inputs: dict[str, str]) -> str:
    """Return the id of an example: the hash of its inputs."""
    return sha256_json(inputs)[:12]


def _require_columns(task: TaskConfig, columns: dict[str, Any], path: Path) -> None:
    wanted = {f"task.inputs.{variable}": column for variable, column in task.inputs.items()}
    if "{{" not in task.target:
        wanted["task.target"] = task.target
    if task.group is not None:
        wanted["task.group"] = task.group
    for field, column in wanted.items():
        if column not in columns:
            raise DataError(f"{path} has no column {column!r}, which {field} names{near_matches(column, columns)}")


def read_inputs(task: TaskConfig, columns: dict[str, Any]) -> dict[str, str]:
    """Return a row's inputs as text. Raises ValueError for a column that is missing, and where all are empty."""
    inputs = {variable: _text(columns, column) for variable, column in task.inputs.items()}
    if not any(value.strip() for value in inputs.values()):
        raise ValueError(f"the input is empty ({', '.join(task.inputs.values())})")
    return inputs


def _group(task: TaskConfig, columns: dict[str, Any]) -> str | None:
    if task.group is None:
        return None
    group = _text(columns, task.group).strip()
    if not group:
        raise ValueError(f"the group is missing ({task.group})")
    return group


def target_text(task: TaskConfig, columns: dict[str, Any], path: Path, kind: OutputKind | None = None) -> str:
    """Return a row's target as it is in the data. Raises ValueError where it is missing.

    `kind` is that of the task's output, which takes longer to make than a row to read.
    """
    if "{{" in task.target:
        target = render_template(task.target, columns, f"task.target over the columns of {path}")
    elif (kind or output_of(task)).structured and isinstance(columns.get(task.target), (dict, list)):
        target = json.dumps(columns[task.target])
    else:
        target = _text(columns, task.target)
    if not target.strip():
        raise ValueError(f"the target is missing ({task.target})")
    return target


def _text(columns: dict[str, Any], column: str) -> str:
    """Return a cell as text; numbers and booleans as JSON writes them."""
    if column not in columns:
        raise ValueError(f"column {column!r} is missing")
    value = columns[column]
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        raise ValueError(f"column {column!r} holds a {type(value).__name__}, and text was expected")
    return json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)
