"""The layers that a tuner's settings name: what the model does not have is told with what it has."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from whether.errors import ConfigError, near_matches

ALL_LINEAR = "all-linear"


def linear_layers(model: Any) -> list[str]:
    """Return the names, without those of their blocks, of a model's linear layers but its output head."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    linear = (
        name for name, layer in _layers(model) if isinstance(layer, (torch.nn.Linear, Conv1D)) and layer is not head
    )
    return sorted({name.rpartition(".")[2] for name in linear})


def require_layers(model: Any, names: str | Sequence[str] | None, setting: str = "target_modules") -> None:
    """Raise ConfigError for a name that no layer of the model has, and for a pattern that fits none.

    The rules are peft's: a name is a layer's whole name, or its end after a dot; a text is "all-linear", or a regular
    expression for whole names. None is left to peft.
    """
    where, known = f"tuner.adapter.{setting}", linear_layers(model)
    layers = [name for name, _ in _layers(model)]
    if isinstance(names, str):
        if names.lower() != ALL_LINEAR and not _fits(names, layers, where):
            raise ConfigError(
                f"{where}: the whole name of no layer, such as {layers[-1]}, fits the regular expression {names!r};"
                f" write names as a list{near_matches(names, [ALL_LINEAR, *known])}"
            )
        return
    if names is not None and not names:
        raise ConfigError(f"{where} is an empty list, so nothing would be trained{near_matches('', known)}")
    for name in names or ():
        if not any(layer == name or layer.endswith(f".{name}") for layer in layers):
            raise ConfigError(f"{where}: the model has no layer {name!r}{near_matches(name, known)}")


def _layers(model: Any) -> Iterable[tuple[str, Any]]:
    """Return a model's layers by their whole names: the modules that hold no others."""
    return [(name, module) for name, module in model.named_modules() if name and not any(module.children())]


def _fits(pattern: str, layers: Iterable[str], where: str) -> bool:
    try:
        return any(re.fullmatch(pattern, layer) for layer in layers)
    except re.error as error:
        raise ConfigError(f"{where}: {pattern!r} is not a regular expression: {error}") from None
