"""Which file of conf/ a setting stands in, and the settings that name a file of conf/."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from whether.config.messages import SECTIONS
from whether.config.output import SHIPPED, TASKS
from whether.config.sections import Config
from whether.config.task import TaskConfig
from whether.errors import ConfigError, near_matches


def files_of(composed: Any, conf: Path) -> dict[str, str]:
    """Map sections and settings (`task`, `prompts.knn`) to the file that was selected for them.

    `composed` is what Hydra composed, with its own section.
    """
    files = {group: conf / group / f"{choice}.yaml" for group, choice in composed.hydra.runtime.choices.items()}
    for group, section in SECTIONS.items():
        files |= {f"{section}.{file.stem}": file for file in (conf / group).glob("*.yaml")}
    for path in TASKS:
        files |= _files_of_kind(path, files[path.partition(".")[0]], composed, conf)
    return {section: str(file) for section, file in files.items() if file.exists()}


def _files_of_kind(path: str, task: Path, composed: Any, conf: Path) -> dict[str, Path]:
    """Map the settings of a task's kind of output to the kind's file; what the task alone sets, to the task's."""
    from omegaconf import OmegaConf

    file = conf / "output" / f"{OmegaConf.select(composed, f'{path}.output')}.yaml"
    if not file.is_file():
        return {}
    own = {*(OmegaConf.select(composed, f"{path}.output_settings") or ())}
    own -= {*yaml.safe_load(file.read_text(encoding="utf-8"))}
    return {f"{path}.output_settings": file} | {f"{path}.output_settings.{name}": task for name in own}


def check_names(config: Config, conf: Path) -> None:
    """Raise ConfigError for a setting that names a file which conf/ does not have.

    What conf/ has and the run does not select is no fault.
    """
    _check_curve(config, conf)
    outputs, metrics = {*SHIPPED, *_names(conf / "output")}, {*_names(conf / "metric"), *config.metrics}
    tasks = [task for task in (config.task, config.benchmark.other) if task]
    for name, metric in config.metrics.items():
        for output in {*metric.outputs} - {*outputs, *(task.output for task in tasks)}:
            raise ConfigError(
                f"metrics.{name}.outputs (in {conf}/metric/{name}.yaml): there is no kind of output {output!r}, which"
                f" would be a file {conf}/output/{output}.yaml{near_matches(output, outputs)}"
            )
    for task in tasks:
        _check_metrics_of_kind(task, metrics, conf)


def _check_curve(config: Config, conf: Path) -> None:
    name, known = config.curve.checkpoint, _names(conf / "checkpoint")
    if name is not None and name not in {*known, *config.checkpoints}:
        raise ConfigError(f"curve.checkpoint={name}: no file {conf}/checkpoint/{name}.yaml{near_matches(name, known)}")


def _check_metrics_of_kind(task: TaskConfig, known: Iterable[str], conf: Path) -> None:
    for name in task.kind_metrics:
        if name not in (*known, "exact_match"):  # of a kind that says nothing of metrics
            raise ConfigError(
                f"{conf}/output/{task.output}.yaml: {task.output_settings['_target_']} names the metric {name!r} in"
                f" `metrics`, and there is no file {conf}/metric/{name}.yaml{near_matches(name, known)}"
            )


def _names(folder: Path) -> list[str]:
    return [file.stem for file in folder.glob("*.yaml")]
