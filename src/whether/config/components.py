"""Code that a YAML names: `_target_` is a dotted path, every other key an argument, checked against the signature."""

import functools
import importlib
import inspect
import pkgutil
import sys
import traceback
import typing
from collections.abc import Callable, Iterator, Sequence
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
    if isinstance(error, SyntaxError) and error.filename:
        return Path(error.filename).name, error.lineno or 0
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not Path(frame.filename).is_relative_to(_PACKAGE)
        and "site-packages" not in frame.filename
        and not frame.filename.startswith("<frozen ")  # Python's own, which imports
    ]
    last = (own or list(frames))[-1]
    return Path(last.filename).name, last.lineno or 0


def bind(component: Component, where: str = "") -> Callable[..., Any]:
    """Return what a component names, with its own (checked) arguments filled in."""
    return functools.partial(_import(component, where), **arguments(component, where))


def check_call(component: Component, positional: Sequence[str], where: str) -> None:
    """Raise ConfigError unless what a component names takes arguments of these names by position.

    What it calls them itself does not matter. Its settings, which come after `*`, are checked by `arguments`.
    """
    function = _import(component, where)
    parameters = _parameters(component, where)
    taken = inspect.Signature([item for item in parameters if item.kind is not item.KEYWORD_ONLY])
    try:
        taken.bind(*positional)
    except TypeError as error:
        target, given = str(component["_target_"]), ", ".join(positional)
        own = f"__init__(self, {given})" if isinstance(function, type) else f"{target.rpartition('.')[2]}({given})"
        raise ConfigError(
            f"{where}: {target} cannot be called with ({given}): {error}; expected `def {own}`, and settings after `*`"
        ) from None


def arguments(component: Component, where: str = "") -> dict[str, Any]:
    """Return a component's arguments, checked against the keyword-only parameters of what it names."""
    hints = _hints(component, where)
    parameters = _parameters(component, where)
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
    hints = typing.get_type_hints(_import(component, where))
    return {name: hints.get(name, Any) for name in argument_names(component, where)}


def argument_names(component: Component, where: str = "") -> list[str]:
    """Return the name of each argument that a component can be given."""
    return [item.name for item in _parameters(component, where) if item.kind is item.KEYWORD_ONLY]


def _parameters(component: Component, where: str) -> list[inspect.Parameter]:
    """Return the parameters of what a component names."""
    try:
        return [*inspect.signature(_import(component, where)).parameters.values()]
    except ValueError:
        raise ConfigError(
            f"{where}._target_: {component['_target_']} does not tell its arguments: expected a function or class that"
            " is written in Python"
        ) from None


def _hints(component: Component, where: str) -> dict[str, Any]:
    """Return the annotation of each argument of a function or a class."""
    function = _import(component, where)
    called = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    try:
        return typing.get_type_hints(called, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise ConfigError(f"{where}: the annotations of {component['_target_']} cannot be read: {error}") from None


def _import(component: Component, where: str) -> Callable[..., Any]:
    """Import what `_target_` names."""
    target = component.get("_target_")
    if not isinstance(target, str) or not all(target.rpartition(".")):
        is_set = "" if target is None else f", and is {target!r}"
        raise ConfigError(f"{where}._target_: expected the dotted path of a function or class{is_set}")
    if target in MOVED_TARGETS:
        raise ConfigError(f"{where}._target_: {target} is now {MOVED_TARGETS[target]}")
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - importing a user's module can raise anything
        raise ConfigError(f"{where}._target_: {_import_fault(error, target)}") from None
    function = getattr(module, name, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"{where}._target_: {module_name} has no {name!r}{near_matches(name, public)}")
    return typing.cast("Callable[..., Any]", function)


def _import_fault(error: Exception, target: str) -> str:
    """Return why the module of a dotted path cannot be imported: there is none, or what goes wrong in it."""
    module = target.rpartition(".")[0]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None or not f"{module}.".startswith(f"{missing}."):
        file, line = _place(error)
        return f"{target}: {module} cannot be imported ({file}, line {line}): {type(error).__name__}: {error}"
    package, _, name = missing.rpartition(".")
    if package:
        known = [found.name for found in pkgutil.iter_modules(getattr(sys.modules[package], "__path__", []))]
        return f"{target}: {package} has no module {name!r}{near_matches(name, known)}"
    known = [_PACKAGE.name, *(found.name for found in pkgutil.iter_modules([str(Path.cwd())]))]
    return (
        f"{target}: there is no module {name!r} in the repository's root, {Path.cwd()}, or among the installed packages"
        f"{near_matches(name, known)}"
    )
