"""What pydantic says of a wrong setting, as one line for the user: where, in which file, what, near matches."""

import dataclasses
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from whether.config.quoting import needs_text
from whether.config.renamed import negation, new_constraint, new_path
from whether.config.sections import Config
from whether.errors import near_matches

SECTIONS = {"metric": "metrics", "prompt": "prompts", "checkpoint": "checkpoints", "trigger": "retrain.triggers"}
"""Folder of conf/ whose files each name the section that they fill → that section."""
MISSING = ("missing", "missing_argument")
"""What pydantic calls a setting that is needed and not set."""


def _explain_unknown(path: str, place: str) -> str:
    """Return the line for a setting that does not exist."""
    new = new_path(path)
    if new:
        return f"{place} is now {new}{negation(path)}"
    if path in SECTIONS:
        return (
            f"a file of conf/{path} has no `# @package {SECTIONS[path]}.<name>` as its first line, by which its"
            " settings get their place"
        )
    *sections, name = path.split(".")
    return f"{place}: no such setting{near_matches(name, _field_names(sections))}"


def place_of(path: str, files: Mapping[str, str]) -> str:
    """Return a setting with the file that its section was read from, if that is known."""
    parts = path.split(".")
    sections = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    file = next((files[section] for section in sections if section in files), None)
    return f"{path} (in {file})" if file else path or "settings"


def with_file(message: str, files: Mapping[str, str]) -> str:
    """Return a message that begins with a setting and a colon, the setting with its file."""
    path, colon, rest = message.partition(": ")
    return f"{place_of(path, files)}{colon}{rest}" if re.fullmatch(r"[\w.]+", path) else message


def explain_validation_errors(problems: Sequence[Any], files: Mapping[str, str]) -> list[str]:
    """Return a line for each of pydantic's errors, but one for all that a checkpoint lacks of what conf/tuner says."""
    lacking: dict[str, list[str]] = {}
    no_texts: dict[str, dict[tuple[str | int, ...], Any]] = {}
    lines = []
    for problem in problems:
        place = _below_setting(problem["loc"])
        if problem["type"] == "string_type" and not isinstance(problem["input"], (dict, list)):
            setting = ".".join(map(str, problem["loc"][: len(problem["loc"]) - len(place)]))
            no_texts.setdefault(setting, {})[place] = problem["input"]
            continue
        *section, name = ("", *(str(part) for part in problem["loc"]))
        is_tuner = section[1:2] == ["checkpoints"] and section[3:] == ["tuner"]
        if is_tuner and problem["type"] in MISSING and name != "adapter":
            lacking.setdefault(".".join(section[1:]), []).append(name)
        else:
            lines.append(explain_validation_error(problem, files))
    lines += [needs_text(setting, given, files) for setting, given in no_texts.items()]
    return lines + [
        f"{place_of(path, files)}: needs {', '.join(names)}: begin the file with the line"
        " `defaults: [shared/training@_here_, _self_]`, which takes them from conf/tuner"
        for path, names in lacking.items()
    ]


def _below_setting(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the end of pydantic's path that does not name a setting: an item's index, or a key and the word for it."""
    if path[-1:] == ("[key]",):
        return path[-2:]
    return tuple(part for part in path[-1:] if isinstance(part, int))


def explain_validation_error(problem: Any, files: Mapping[str, str]) -> str:
    """Return one line for one of pydantic's errors: where, what, the value, near matches, or the new name."""
    parts = [str(part) for part in problem["loc"]]
    path = ".".join(parts)
    place = place_of(path, files)
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return _explain_unknown(path, place)
    if problem["type"] in MISSING:
        return f"{place}: is needed and not set"
    value = problem["input"]
    if problem["type"] == "string_type":
        kind = "a mapping" if isinstance(value, dict) else "a list"
        return f"{place}: a text is needed, and YAML reads {kind}: put it in quotes"
    if parts[:2] == ["policy", "constraints"] and problem["type"] == "dataclass_type":
        new = new_constraint(parts[-1], value) if isinstance(value, (int, float)) else None
        if new:
            return f"{place.replace(path, f'{path}={value}', 1)} is now {new}"
        return f"{place}: expected {{min: x}} or {{max: x}}, and is {value!r}"
    message = problem["msg"].removeprefix("Value error, ")
    shown = (
        ""
        if isinstance(value, (dict, list)) or dataclasses.is_dataclass(value) or type(value).__name__ == "ArgsKwargs"
        else f", and is {value!r}"
    )
    return f"{place}: {message}{shown}"


def _field_names(path: Sequence[str]) -> list[str]:
    """Names of the fields of the dataclass at a path inside `Config`."""
    kind: Any = Config
    for part in path:
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(part)
        else:
            kind = typing.get_args(kind)[-1] if typing.get_args(kind) else None
        kind = (
            next((option for option in typing.get_args(kind) if dataclasses.is_dataclass(option)), kind)
            if typing.get_origin(kind) is not dict
            else kind
        )
    return [item.name for item in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
