"""Composed values become a checked `Config`: types and ranges, and each component against the code that it names."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from whether.config.arms import PromptConfig
from whether.config.components import arguments, build, check_call
from whether.config.messages import explain_validation_errors, with_file
from whether.config.output import TASKS
from whether.config.renamed import new_path
from whether.config.sections import Config
from whether.config.types import KNOWLEDGE, Component
from whether.errors import ConfigError

CHECK_METRICS = "whether.metrics.constraints.check_metrics"
"""What checks metrics of answers, and limits against all metrics. Settings are below it, so it is imported by name, as
what a `_target_` names is: only where it is needed."""
CHECK_OUTPUT = "whether.outputs.kinds.check_output"
"""What checks a task against the kind of its output."""


def check(values: Any, origin: Callable[[], dict[str, str]] = dict) -> Config:
    """Return checked settings. `origin` maps a section to the file that it was read from, for messages."""
    try:
        config = TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        lines = explain_validation_errors(_without_copies(error.errors()), origin())
        raise ConfigError("\n".join(lines)) from None
    for path in (f"tuner.{name}" for name in config.tuner):  # a section of the user's own names: nothing else checks it
        if new_path(path):
            raise ConfigError(f"{path} is now {new_path(path)}")
    try:
        _check_code(config)
    except ConfigError as error:
        raise ConfigError(with_file(str(error), origin())) from error
    build({"_target_": CHECK_METRICS}, config)
    _refuse_scores_of_served(config)
    return config


class Use(NamedTuple):
    """A component of the settings, and how it is called."""

    where: str
    component: Component
    called_with: Sequence[str]
    """What the arguments are called that it gets by position; its settings are those after `*`."""


def uses(config: Config) -> Iterator[Use]:
    """Yield every component of the settings but kinds of output, which `CHECK_OUTPUT` builds."""
    yield Use("model.source", config.model.source, ["target_folder"])
    for where, prompt in _prompts(config):
        yield Use(f"{where}.strategy", prompt.strategy, ["task", "pool", "seed"])
        yield Use(f"{where}.decoding", prompt.decoding, ["task", "seed"])
    for name, checkpoint in config.checkpoints.items():
        if checkpoint.tuner:
            yield Use(f"checkpoints.{name}.tuner.adapter", checkpoint.tuner.adapter, ["model", "task"])
    for name, baseline in (config.baselines | config.curve.baselines).items():
        if baseline:
            yield Use(f"baselines.{name}.model", baseline.model, [])
    for name, metric in config.metrics.items():
        yield Use(f"metrics.{name}.totals", metric.totals, ["task", "answer", "target"])
        for part, component in (("value", metric.value), ("effective_n", metric.effective_n)):
            if component:
                yield Use(f"metrics.{name}.{part}", component, ["totals", "n"])
    for name, decoding in config.optimise.decodings.items():
        yield Use(f"optimise.decodings.{name}", decoding, ["task", "seed"])
    for name, trigger in config.retrain.triggers.items():
        yield Use(f"retrain.triggers.{name}", trigger, ["evidence"])


def _prompts(config: Config) -> Iterator[tuple[str, PromptConfig]]:
    yield from ((f"prompts.{name}", prompt) for name, prompt in config.prompts.items())
    for name, checkpoint in config.checkpoints.items():
        if checkpoint.tuner and checkpoint.tuner.prompt:
            yield f"checkpoints.{name}.tuner.prompt", checkpoint.tuner.prompt
    yield from ((f"curve.prompts.{name}", prompt) for name, prompt in config.curve.prompts.items() if prompt)


def _check_code(config: Config) -> None:
    """Raise ConfigError for a component that is not there, or cannot be called as it will be."""
    for path in TASKS:
        task = config.task if path == "task" else config.benchmark.other
        if task is not None:
            build({"_target_": CHECK_OUTPUT}, task, path)
    for where, component, called_with in uses(config):
        check_call(component, called_with, where)
        folder = arguments(component, where).get("folder")
        if where.endswith(".strategy") and folder is not None and Path(folder).parts[:1] != (str(KNOWLEDGE),):
            raise ConfigError(
                f"{where}.folder: {folder} does not lie in {KNOWLEDGE}/, which is what DVC watches for it"
            )


def _without_copies(problems: Sequence[Any]) -> list[Any]:
    """Leave out what is wrong in `curve` only because it is wrong where `curve` takes it from, by interpolation."""
    elsewhere = [problem["loc"] for problem in problems if problem["loc"][:1] != ("curve",)]

    def is_copy(path: tuple[Any, ...]) -> bool:
        inside = path[1:]
        return path[:1] == ("curve",) and any(inside and other[-len(inside) :] == inside for other in elsewhere)

    return [problem for problem in problems if not is_copy(problem["loc"])]


def _refuse_scores_of_served(config: Config) -> None:
    """Report, before anything is paid for, a prompt that needs what a served model does not return."""
    served = [name for name, checkpoint in config.checkpoints.items() if checkpoint.served]
    for name, prompt in config.prompts.items():
        if served and str(prompt.decoding.get("_target_")).endswith(".label_scores"):
            raise ConfigError(
                f"prompts.{name} answers by the probabilities of labels, which the served model {served[0]} does not"
                " return: leave one of the two out, or run them separately"
            )
