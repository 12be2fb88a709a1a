"""What a search of tuner settings tries: the section `search`."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from whether.config.types import STRICT, Count, Positive
from whether.errors import near_matches

Scalar = bool | int | float | str
_LEAF = ("low", "high", "log", "choices")


@dataclass(frozen=True, config=STRICT)
class Range:
    """A number between two bounds, both included."""

    low: float
    high: float
    log: bool = False
    """Try the same number of values between 1 and 10 as between 10 and 100."""

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


@dataclass(frozen=True, config=STRICT)
class Categorical:
    """One of some values."""

    choices: tuple[Scalar, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.choices))


@dataclass(frozen=True, config=STRICT)
class SearchConfig:
    """Which settings of a tuner are tried, how many times, and when a trial is given up."""

    space: dict[str, Any]
    """Setting of the tuner → {low, high, log} or {choices}; its adapter's below `adapter`. null: not searched."""
    trials: Count = 20
    """Settings tried in all, those of earlier runs included."""
    minutes: Positive | None = None
    """No trial begins later than this after the start; None: no limit."""
    pruner: Literal["median", "none"] = "median"
    """`median`: a trial ends when its best score so far is below the median of the others' at the same evaluation."""
    startup_trials: Annotated[int, Field(ge=1)] = 5
    """Trials drawn at random, and run to their end, before earlier ones guide the search and end others."""
    warmup_evaluations: Annotated[int, Field(ge=0)] = 1
    """Evaluations on dev at which no trial is ended yet."""

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ValueError("space names no setting: it needs at least one, such as learning_rate: {low, high, log}")

    @cached_property
    def parameters(self) -> dict[str, Range | Categorical]:
        """Every searched setting by its dotted name (`learning_rate`, `adapter.r`)."""
        return dict(_flat(self.space, ""))


def _flat(space: Mapping[str, Any], prefix: str) -> list[tuple[str, Range | Categorical]]:
    found: list[tuple[str, Range | Categorical]] = []
    for key, value in space.items():
        name = f"{prefix}{key}"
        if value is None:
            continue
        if not isinstance(value, Mapping) or not value:
            raise ValueError(f"space.{name} must be {{low, high, log}} or {{choices}}, and is {value!r}")
        if any(part in _LEAF for part in value):
            found.append((name, _leaf(name, {part: item for part, item in value.items() if item is not None})))
        else:
            found += _flat(value, f"{name}.")
    return found


def _leaf(name: str, values: Mapping[str, Any]) -> Range | Categorical:
    for key in values:
        if key not in _LEAF:
            raise ValueError(f"space.{name}.{key}: no such setting{near_matches(key, _LEAF)}")
    if "choices" in values:
        return _options(name, values)
    for key in ("low", "high"):
        if not isinstance(values.get(key), (int, float)) or isinstance(values[key], bool):
            raise ValueError(f"space.{name}.{key} must be a number, and is {values.get(key)!r}")
    if not isinstance(values.get("log", False), bool):
        raise ValueError(f"space.{name}.log must be true or false, and is {values['log']!r}")
    low, high, log = float(values["low"]), float(values["high"]), bool(values.get("log", False))
    if not low < high < float("inf"):
        raise ValueError(f"space.{name}: low must be below high, and they are {low:g} and {high:g}")
    if log and low <= 0:
        raise ValueError(f"space.{name}: with log, low must be positive, and it is {low:g}")
    return Range(low, high, log)


def _options(name: str, values: Mapping[str, Any]) -> Categorical:
    if len(values) > 1:
        raise ValueError(f"space.{name}: choices go without {', '.join(key for key in values if key != 'choices')}")
    choices = values["choices"]
    if not isinstance(choices, list) or not choices or not all(isinstance(item, Scalar) for item in choices):
        raise ValueError(f"space.{name}.choices must be a list of numbers or words, and is {choices!r}")
    if len(set(choices)) < len(choices):
        raise ValueError(f"space.{name}.choices holds a value twice: {choices!r}")
    return Categorical(tuple(choices))
