"""From the rows of a file to checked inputs and targets; what does not fit is set aside with line and reason."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from whether.chat.templates import TemplateError, check_template, render_template, template_variables
from whether.config import TaskConfig
from whether.errors import DataError, near_matches
from whether.outputs.kinds import output_of
from whether.outputs.output import OutputKind
from whether.prepare.columns import has_value, require_columns, require_spelling
from whether.prepare.spelling import known_spelling
from whether.records import Example, sha256_json
from whether.records.values import storable
from whether.sources.tables import cell_text, location, read_lines, require_file, require_text
from whether.sources.tables.chats import chat_target, is_chat

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
    row: dict[str, Any] | None
    """None where the line is not a row at all."""
    text: str = ""
    """The line as it came, where it is not a row."""

    def record(self) -> dict[str, Any]:
        """Return it as it is written; `text` only where there is one."""
        return {"line": self.line, "reason": self.reason, "row": self.row} | ({"text": self.text} if self.text else {})


class Table(NamedTuple):
    """What was read."""

    rows: list[SourceRow]
    rejected: list[Rejected]


def read_examples(task: TaskConfig, check: Callable[[Example], None] | None = None) -> Table:
    """Read and check every row of a task's source.

    `check` raises ValueError for an example that cannot be used for another reason. Raises DataError for a file that
    cannot be read to its end, for a column that no row has, and for more than `max_bad_rows` bad rows, naming the first
    five; ConfigError for a template with a variable that no row has.
    """
    path = Path(task.source.path)
    require_file(path)
    read = example_reader(task, path)
    table, columns = Table([], []), dict[str, None]()
    for line in read_lines(path, task.source):
        if line.ends:
            raise DataError(f"{location(path, line.number)}: {line.reason}")
        try:
            if line.row is None:
                raise ValueError(line.reason)
            if not line.row.keys() <= columns.keys():
                columns |= dict.fromkeys(line.row)
            example = read(line.row)
            if check:
                check(example)
            table.rows.append(SourceRow(line.number, example))
        except ValueError as error:
            row = None if line.row is None else storable(line.row)
            table.rejected.append(Rejected(line.number, str(error), row, line.text))
            if len(table.rejected) >= max(task.max_bad_rows + 1, SHOWN):
                break
    _require_rows(task, table, columns, path)
    return table


def _require_rows(task: TaskConfig, table: Table, columns: Iterable[str], path: Path) -> None:
    """Raise DataError or ConfigError unless there are rows, and not too many bad ones."""
    if not table.rows and not table.rejected:
        raise DataError(f"{path} is empty: it holds no row of examples")
    if columns := list(columns):
        require_columns(task, columns, path, usable=bool(table.rows))
    if len(table.rejected) > task.max_bad_rows:
        shown = [f"{location(path, bad.line)}: {bad.reason}" for bad in table.rejected[:SHOWN]]
        raise DataError(
            f"{path} has more bad rows than task.max_bad_rows={task.max_bad_rows} allows; correct them, or allow"
            " more to be set aside. The first: " + "\n  ".join(shown)
        )
    if not table.rows:
        raise DataError(f"{path} has no row that fits the task; the first is {table.rejected[0].reason}")


def example_reader(task: TaskConfig, path: Path) -> Callable[[dict[str, Any]], Example]:
    """Return what makes an example of a row's columns; a ValueError says why a row does not fit the task.

    Raises ConfigError for a template of the task that cannot be read.
    """
    kind, spell = output_of(task), known_spelling(task)
    check_template(task.input_template, "task.input_template")
    if "{{" in task.target:
        check_template(task.target, f"task.target over the columns of {path}")

    def read(columns: dict[str, Any]) -> Example:
        inputs = read_inputs(task, columns)
        target = kind.parse_target(spell(target_text(task, columns, kind)))
        if not isinstance(target, str):
            raise ValueError(
                f"{type(kind).__qualname__} (output: {task.output}) reads its target as {target!r}, no text"
            )
        return Example(example_id(inputs), inputs, require_text(target, "the target"), _group(task, columns))

    return read


def example_id(inputs: dict[str, str]) -> str:
    """Return the id of an example: the hash of its inputs."""
    return sha256_json(inputs)[:12]


def read_inputs(task: TaskConfig, columns: dict[str, Any]) -> dict[str, str]:
    """Return a row's inputs as text.

    Raises ValueError for a column that is missing or has no text, where all are empty, and where the input template
    fails for them.
    """
    inputs = {variable: _text(columns, column) for variable, column in task.inputs.items()}
    if not any(value.strip() for value in inputs.values()):
        raise ValueError(f"the input is empty ({', '.join(task.inputs.values())})")
    if task.input_template:
        _rendered(task.input_template, inputs, "task.input_template")
    return inputs


def _group(task: TaskConfig, columns: dict[str, Any]) -> str | None:
    if task.group is None:
        return None
    group = _text(columns, task.group).strip()
    if not group:
        raise ValueError(f"the group is missing ({task.group})")
    return group


def target_text(task: TaskConfig, columns: dict[str, Any], kind: OutputKind | None = None) -> str:
    """Return a row's target as it is in the data. Raises ValueError where it is missing or has no text.

    `kind` is that of the task's output, which takes longer to make than a row to read.
    """
    if "{{" in task.target:
        target = _rendered(task.target, columns, "task.target")
    elif _is_structure(task, value := columns.get(task.target), kind):
        target = _json(value, task.target)
    else:
        target = _text(columns, task.target, is_target=True)
    if not target.strip():
        raise ValueError(f"the target is missing ({task.target})")
    return target


def has_target(task: TaskConfig, columns: dict[str, Any]) -> bool:
    """Return whether a row has an answer, be it a good one.

    It has none where its column, or one that the target's template needs, is missing or empty. Raises ValueError where
    a column of nearly that name is there.
    """
    if "{{" not in task.target:
        require_spelling(task.target, columns)
        value = columns.get(task.target)
        if isinstance(value, list) and is_chat(value) and not _is_structure(task, value):
            return bool(chat_target(value).strip())
        return has_value(value)
    needed = template_variables(task.target)
    for name in needed:
        require_spelling(name, columns)
    if all(has_value(columns.get(name)) for name in needed):
        return True
    try:
        return bool(_rendered(task.target, columns, "task.target").strip())
    except ValueError:
        return False


def _is_structure(task: TaskConfig, cell: object, kind: OutputKind | None = None) -> bool:
    """Return whether a cell is itself the answer of a task whose answers have a structure, and not text that tells it.

    A chat that the task takes its input from, too, is not.
    """
    if not isinstance(cell, (dict, list)) or (is_chat(cell) and task.target in task.inputs.values()):
        return False
    return (kind or output_of(task)).structured


def _json(cell: object, column: str) -> str:
    try:
        return json.dumps(cell, ensure_ascii=False)
    except TypeError:
        raise ValueError(f"column {column!r} holds bytes that are not UTF-8, which JSON does not have") from None


def _rendered(template: str, variables: dict[str, Any], where: str) -> str:
    """Return a template over a row. Raises ValueError where it fails for this row."""
    try:
        return require_text(render_template(template, variables, where), where)
    except TemplateError as error:
        raise ValueError(f"{where}: {error.reason}") from None


def _text(columns: dict[str, Any], column: str, *, is_target: bool = False) -> str:
    if column not in columns:
        raise ValueError(f"column {column!r} is missing{near_matches(column, columns)}")
    return cell_text(columns[column], column, "target" if is_target else "input")
