"""The kind of output that a task has."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from pydantic import TypeAdapter

from whether.config import TaskConfig, build, own_code_errors
from whether.config.output import output_component
from whether.errors import ConfigError
from whether.outputs.output import OutputKind, OutputSettings, score_answer
from whether.outputs.reading import Read, Reading
from whether.records import Task

_OF_SOME_KINDS = ("labels", "definitions", "unseen_labels", "schema", "answer_pattern")
"""Settings of a task that only some kinds use (`OutputKind.task_settings`)."""


def output_of(task: OutputSettings, where: str = "task") -> OutputKind:
    """Return the kind of a task's output, with its settings.

    `where` is the section of the task, for messages. Raises ConfigError for a class that cannot be built or is no kind.
    """
    component = output_component(task.output, task.output_settings, where)
    place = f"{where}.output_settings"
    try:
        kind: OutputKind = build(component, task, where=place)
    except ConfigError as error:
        if not isinstance(error.__cause__, TypeError):
            raise
        raise ConfigError(
            f"{place}._target_: {component['_target_']} cannot take a task: {error.__cause__}; its __init__ takes"
            " self, the task, and settings after *"
        ) from None
    missing = [name for name in vars(OutputKind) if not name.startswith("_") and not hasattr(kind, name)]
    if missing:
        raise ConfigError(
            f"{place}._target_: {component['_target_']} is no kind of output, since it has no {', '.join(missing)}; let"
            " it begin from whether.outputs.output.OutputKind"
        )
    return kind


def answer_reader(task: OutputSettings) -> Read:
    """Return what reads the answer in an output, in whatever form it stands there: the one reader of every arm.

    Raises ConfigError, when it is called, for what a kind of the user's own cannot read or returns in another form.
    """
    kind = output_of(task)
    if type(kind).__module__.startswith("whether."):
        return kind.read
    target, where = f"{type(kind).__module__}.{type(kind).__qualname__}", f"conf/output/{task.output}.yaml"

    def read(text: str) -> Reading:
        with own_code_errors(f"{target}.parse", where):
            found = kind.read(text)
        if found.answer is not None and not isinstance(found.answer, str):
            raise ConfigError(
                f"{where}: {target}.parse returned {found.answer!r} for the output {text!r:.60}: expected a text, or"
                " None where there is no answer"
            )
        return found

    return read


def answer_parser(task: OutputSettings) -> Callable[[str], str | None]:
    """Return what finds the answer in an output, as `answer_reader` reads it."""
    read = answer_reader(task)
    return lambda text: read(text).answer


def check_output(task: TaskConfig, where: str) -> None:
    """Raise ConfigError for settings of a task that do not fit the kind of its output."""
    kind = output_of(task, where)
    if not isinstance(kind.metrics, (tuple, list)):
        raise ConfigError(
            f"conf/output/{task.output}.yaml: {task.output_settings['_target_']}.metrics is {kind.metrics!r}: expected"
            ' names of conf/metric in a tuple, such as ("exact_match",)'
        )
    for name in _OF_SOME_KINDS:
        if name not in kind.task_settings and getattr(task, name) not in (None, [], {}):
            raise ConfigError(f"{where}.{name} is set, and output: {task.output} has no use for it")
    kind.check_settings()


def lm_eval_match(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """Score one output as this project does; lm-eval calls it (`process_results`). `doc["task"]` is `records.Task`."""
    kind = _kind(doc["task"])
    return {"exact_match": score_answer(kind, kind.read(results[0]).answer, doc["target"])}


@cache
def _kind(task: str) -> OutputKind:
    return output_of(TypeAdapter(Task).validate_json(task))
