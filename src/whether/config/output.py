"""`task.output`: a word that names a file of conf/output, which says what reads and checks the answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whether.config.types import Component
from whether.config.yaml_lines import yaml_fault
from whether.errors import ConfigError, near_matches

SHIPPED = {
    "label": "whether.outputs.label.LabelOutput",
    "text": "whether.outputs.text.TextOutput",
    "json": "whether.outputs.json_output.JsonOutput",
}
"""Kinds that need no file of conf/output: settings and records of before 0.2 have the word alone."""
TASKS = ("task", "benchmark.other")
"""Sections that hold a task."""


def output_component(output: str, settings: Mapping[str, Any], where: str) -> Component:
    """Return `_target_` and settings of a task's output kind. Raises ConfigError for a word that names none."""
    if "_target_" in settings:
        return dict(settings)
    if output in SHIPPED:
        return {"_target_": SHIPPED[output]} | dict(settings)
    raise ConfigError(
        f"{where}.output: {output!r} has no {where}.output_settings._target_ and is no kind that whether has"
        f"{near_matches(output, SHIPPED)}"
    )


def add_output_settings(composed: Any, conf: Path) -> None:
    """Write into each task of composed settings what the file says that its `output` names.

    What the task itself says in `output_settings` wins. Raises ConfigError for a word without a file.
    """
    from omegaconf import OmegaConf, open_dict

    for path in TASKS:
        task = OmegaConf.select(composed, path)
        if not OmegaConf.is_dict(task) or not isinstance(task.get("output"), str):
            continue  # what is wrong with it is told by `check`
        own = task.get("output_settings")
        if own is None or (OmegaConf.is_dict(own) and "_target_" not in own):
            with open_dict(task):
                task.output_settings = OmegaConf.merge(_read(task.output, path, conf), own or {})


def _read(output: str, path: str, conf: Path) -> Any:
    """Return the content of conf/output/<output>.yaml."""
    import yaml
    from omegaconf import OmegaConf

    folder = conf / "output"
    file = folder / f"{output}.yaml"
    if not file.is_file() and output not in SHIPPED:
        known = {*SHIPPED, *(other.stem for other in folder.glob("*.yaml"))}
        raise ConfigError(f"{path}.output={output}: no file {file}{near_matches(output, known)}")
    try:
        found = OmegaConf.load(file) if file.is_file() else OmegaConf.create({"_target_": SHIPPED[output]})
    except yaml.YAMLError as error:
        raise ConfigError(yaml_fault(error, file)) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    if not OmegaConf.is_dict(found) or "_target_" not in found:
        raise ConfigError(f"{file} must hold _target_, the dotted path of a class, and its settings")
    return found
