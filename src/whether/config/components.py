"""Code that a YAML names: `_target_` is a dotted path, every other key an argument, checked against the signature."""

import functools
import importlib
import inspect
import traceback
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from whether.config.renamed import MOVED_TARGETS, new_path
from whether.config.types import Component
from whether.errors import ConfigError, near_matches

_PACKAGE = Path(__file__).parents[1]


def build(component: Component, *positional: Any, where: str = "") -> Any:
    """Call what a component names with `positional` and its own (checked) arguments."""
    function = _import(component, where)
    with own_code_errors(str(component["_target_"]), where):
        return function(*positional, **arguments(component, where))


@contextmanager
def own_code_errors(target: str, where: str) -> Iterator[None]:
    """Turn what goes wrong in a user's own code into one ConfigError that names it and its setting.

    Errors in this project's own code are faults of the project, and pass.
    """
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        if target.startswith("whether."):
            raise
        file, line = _place(error)
        raise ConfigError(f"{where}: {target} failed ({file}, line {line}): {type(error).__name__}: {error}") from error


def _place(error: Exception) -> tuple[str, int]:
    """Return file and line at which an error arose, as near to the user's code as can be told."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not Path(frame.filename).is_relative_to(_PACKAGE) and "site-packages" not in frame.filename
    ]
    last = (own or list(frames))[-1]
    return Path(last.filename).name, last.lineno or 0


def bind(component: Component, where: str = "") -> Callable[..., Any]:
    """Return what a component names, with its own (checked) arguments filled in."""
    return functools.partial(_import(component, where), **arguments(component, where))


def arguments(component: Component, where: str = "") -> dict[str, Any]:
    """Return a component's arguments, checked against the keyword-only parameters of what it names."""
    function = _import(component, where)
    hints = _hints(function)
    parameters = inspect.signature(function).parameters.values()
    known = {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    given = {key: value for key, value in component.items() if key != "_target_"}
    target = component["_target_"]
    for key in given.keys() - known.keys():
        new = new_path(f"{where}.{key}")
        if new and new.rpartition(".")[2] in known:
            raise ConfigError(f"{where}.{key} is now {new}")
        raise ConfigError(f"{where}.{key}: {target} has no such argument{near_matches(key, known)}")
    for name, parameter in known.items():
        if name not in given and parameter.default is parameter.empty:
            raise ConfigError(f"{where}.{name}: {target} needs this argument and it is not set")
    checked = {}
    for key, value in given.items():
        try:
            checked[key] = TypeAdapter(hints.get(key, Any)).validate_python(value)
        except ValidationError as error:
            raise ConfigError(f"{where}.{key}: {error.errors()[0]['msg']}, and is {value!r}") from None
    return checked


def argument_types(component: Component, where: str = "") -> dict[str, Any]:
    """Return the type of each argument that a component can be given, by name; ranges and the like are left out."""
    function = _import(component, where)
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    return {item.name: hints[item.name] for item in parameters if item.kind is item.KEYWORD_ONLY}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotation of each argument of a function or a class."""
    called = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    return typing.get_type_hints(called, include_extras=True)


def _import(component: Component, where: str) -> Callable[..., Any]:
    """Import what `_target_` names."""
    target = component.get("_target_")
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{where} needs _target_, the dotted path of a function or class")
    if target in MOVED_TARGETS:
        raise ConfigError(f"{where}._target_: {target} is now {MOVED_TARGETS[target]}")
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - importing a user's module can raise anything
        raise ConfigError(f"{where}._target_: {module_name} cannot be imported: {error!r}") from None
    function = getattr(module, name, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"{where}._target_: {module_name} has no {name!r}{near_matches(name, public)}")
    return typing.cast("Callable[..., Any]", function)
