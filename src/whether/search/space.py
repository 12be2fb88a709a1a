"""The searched settings of one tuner: checked against it, and put into it."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from whether.config import Categorical, Range, TunerConfig, argument_types, arguments
from whether.errors import ConfigError, near_matches

Settings = dict[str, Any]
"""Searched setting by its dotted name → value."""
_ADAPTER = "adapter."


class Space:
    """Which settings of `tuner` are varied, and between which bounds.

    Raises ConfigError for a setting that the tuner does not have, or a bound that it does not take.
    """

    def __init__(self, tuner: TunerConfig, parameters: Mapping[str, Range | Categorical]):
        self.base = tuner
        self.parameters = dict(parameters)
        known = _types(tuner)
        self._types = {name: _known(name, known) for name in parameters}
        for name, parameter in parameters.items():
            self._check(name, parameter)

    def tuner(self, settings: Settings) -> TunerConfig:
        """Return the tuner with these settings in place of its own."""
        values = dataclasses.asdict(self.base)
        for name, value in settings.items():
            owner = values["adapter"] if name.startswith(_ADAPTER) else values
            owner[name.removeprefix(_ADAPTER)] = value
        arguments(values["adapter"], "tuner.adapter")
        return TypeAdapter(TunerConfig).validate_python(values)

    @property
    def own(self) -> Settings | None:
        """The tuner's own values of the searched settings; None if they are not in the space."""
        values = dataclasses.asdict(self.base)
        flat = values | {_ADAPTER + key: value for key, value in values["adapter"].items()}
        own = {name: flat[name] for name in self.parameters if name in flat}
        inside = all(_contains(self.parameters[name], value) for name, value in own.items())
        return own if inside and len(own) == len(self.parameters) else None

    @property
    def size(self) -> float:
        """Number of different settings; infinite where a setting is a real number."""
        sizes = (len(parameter.choices) if isinstance(parameter, Categorical)
                 else parameter.high - parameter.low + 1 if self.is_integer(name) else math.inf
                 for name, parameter in self.parameters.items())  # fmt: skip
        return math.prod(sizes)

    def is_integer(self, name: str) -> bool:
        """Return whether a setting takes whole numbers only."""
        return self._types[name] is int

    def rounded(self, settings: Settings) -> Settings:
        """Return settings as one would write them by hand: three digits, within the bounds."""

        def rounded(name: str, value: Any) -> Any:
            parameter = self.parameters[name]
            if isinstance(parameter, Categorical) or self.is_integer(name):
                return value
            return min(max(float(f"{value:.3g}"), parameter.low), parameter.high)

        return {name: rounded(name, settings[name]) for name in self.parameters}

    def _check(self, name: str, parameter: Range | Categorical) -> None:
        where = f"search.space.{name}"
        if isinstance(parameter, Categorical):
            values: tuple[Any, ...] = parameter.choices
        elif self._types[name] not in (int, float):
            raise ConfigError(f"{where}: a setting that is not a number has choices, not low and high")
        elif self.is_integer(name):
            if not (parameter.low.is_integer() and parameter.high.is_integer()):
                raise ConfigError(
                    f"{where}: is a whole number, and low and high are {parameter.low} and {parameter.high}"
                )
            values = (int(parameter.low), int(parameter.high))
        else:
            values = (parameter.low, parameter.high)
        for value in values:
            try:
                self.tuner({name: value})
            except ValidationError as error:
                raise ConfigError(f"{where}: {error.errors()[0]['msg']}, and {value!r} is among the values") from None
            except ConfigError as error:
                raise ConfigError(f"{where}: {str(error).partition(': ')[2]}") from None


def _types(tuner: TunerConfig) -> dict[str, Any]:
    types = {name: kind for name, kind in typing.get_type_hints(TunerConfig).items() if name != "adapter"}
    adapter = argument_types(tuner.adapter, "tuner.adapter")
    return types | {_ADAPTER + name: kind for name, kind in adapter.items()}


def _known(name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise ConfigError(
            f"search.space.{name}: the tuner has no such setting{near_matches(name, known)}."
            f" To leave it out: space.{name}=null"
        )
    return known[name]


def _contains(parameter: Range | Categorical, value: Any) -> bool:
    if isinstance(parameter, Categorical):
        return value in parameter.choices
    return isinstance(value, (int, float)) and parameter.low <= value <= parameter.high
