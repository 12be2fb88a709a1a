"""Whether the columns that a task names are there."""

import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from whether.chat.templates import template_variables
from whether.config import TaskConfig
from whether.errors import ConfigError, DataError, near_matches


def require_columns(task: TaskConfig, columns: Collection[str], path: Path, *, usable: bool) -> None:
    """Raise DataError, with the columns that were found, for one that the task names and no row has.

    Where no row is `usable`, raise ConfigError for a variable of a template that no row has.
    """
    wanted = {f"task.inputs.{variable}": column for variable, column in task.inputs.items()}
    if "{{" not in task.target:
        wanted["task.target"] = task.target
    if task.group is not None:
        wanted["task.group"] = task.group
    for field, column in wanted.items():
        if column not in columns:
            raise DataError(
                f"{path} has no column {column!r}, which {field} names{near_matches(column, columns)}{_advice(columns)}"
            )
    if not usable:
        _require_variables(task.input_template, task.inputs, "task.input_template")
        if "{{" in task.target:
            _require_variables(task.target, columns, f"task.target over the columns of {path}")


def _require_variables(template: str, known: Collection[str], where: str) -> None:
    for name in sorted(template_variables(template)):
        if name not in known:
            raise ConfigError(f"{where}: {name!r} is undefined{near_matches(name, known)}")


def require_spelling(column: str, columns: Iterable[str]) -> None:
    """Raise ValueError where a column is missing and one is there that differs by case, space or punctuation only."""
    wanted = "" if column in columns else _letters(column)
    if wanted and (other := next((name for name in columns if _letters(name) == wanted), None)):
        raise ValueError(f"column {column!r} is missing, and {other!r} is there: rename it, or correct the task")


def has_value(cell: object) -> bool:
    """Return whether a cell is neither missing nor blank."""
    return cell is not None and (not isinstance(cell, str) or bool(cell.strip()))


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))


def _advice(columns: Collection[str]) -> str:
    """Return what may be wrong with a file of one column."""
    if len(columns) != 1:
        return ""
    return (
        ". It has one column only: the header has to be the first line of a CSV, and its separator a comma, a"
        " semicolon, a tab, | or task.source.delimiter"
    )
