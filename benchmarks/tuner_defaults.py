"""Are the tuner's defaults good ones? Each is changed alone, on six tasks of unlike kinds that no study is made on.

    python benchmarks/tuner_defaults.py                                        # the table
    python benchmarks/tuner_defaults.py --tasks fever colour --settings r=4    # a part of it; the defaults always
    python benchmarks/tuner_defaults.py --rows 240 --json                      # more training rows; one JSON object

The default model is tuned with the `lora` checkpoint's settings on each task, once with conf/tuner/default.yaml and
once for each change of one setting. Dev chooses the best step, as always; what counts here is the test split, answered
with the plain prompt, constrained to what the task's answers are. Tasks come from BIG-bench's package; rows, model and
journal are in build/tuner_defaults/. What is finished is not measured again under the same settings, and a training
that was killed resumes: start the same command again. One CPU thread is used, so that other cores are left for other
work, and times are those of the processor, which that work hardly changes.
"""

import argparse
import gc
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from whether import entry
from whether.config import Config, DataConfig, SourceConfig, SplitConfig, TaskConfig, TunerConfig, build, check, compose
from whether.engine.local import LocalModel
from whether.errors import EngineError
from whether.finetune.finetune import finetune
from whether.metrics.metric import measure_quality, quality_metrics
from whether.model.precision import precision_of
from whether.outputs.decoding import constrained
from whether.outputs.kinds import output_of
from whether.prepare.prepare import prepare
from whether.prompt.strategies import zero_shot
from whether.prompt.training import write_training_set
from whether.records import (
    CheckpointMetrics,
    CheckpointRecord,
    Example,
    Task,
    append_record,
    exclusive_lock,
    output_folder,
    read_journal,
    read_json,
    read_jsonl,
    sha256_json,
    to_builtins,
    write_jsonl,
)
from whether.sources.bigbench import build_data

FOLDER = Path("build/tuner_defaults")
JOURNAL = FOLDER / "journal.jsonl"
NAME = "tuner_defaults"
"""Of the checkpoint, so that unfinished trainings of the pipeline in .state/finetune are left alone."""
ROWS, DEV, TEST = 96, 64, 160
"""Examples of each split, at most: a sample of as many as all three, less near duplicates, is split in proportion."""

DEFAULT = "default"
SETTINGS = {
    DEFAULT: [],
    "learning_rate=1e-3": ["tuner.learning_rate=1e-3"],
    "learning_rate=4e-3": ["tuner.learning_rate=4e-3"],
    "epochs=2": ["tuner.epochs=2"],
    "epochs=8": ["tuner.epochs=8"],
    "r=4": ["tuner.r=4", "tuner.alpha=8"],
    "r=32": ["tuner.r=32", "tuner.alpha=64"],
    "batch_size=8": ["tuner.batch_size=8"],
    "batch_size=32": ["tuner.batch_size=32"],
}
"""Setting → overrides of conf/. The update's scale, alpha / r, stays as it is."""

WRANGLING = (
    *("get_week_day_1_dates", "get_week_day_2_dates", "get_month_name_1_dates", "get_month_name_2_dates"),
    *("get_minutes_1_times", "get_minutes_2_times", "get_value_1_units", "get_value_2_units", "get_units_1_units"),
    *("get_units_2_units", "get_title_1_names", "get_title_2_names", "get_after_at_1_emails", "get_after_at_2_emails"),
    *("get_after_comma_1_freetext", "get_after_comma_2_freetext", "get_number_1_phones", "get_number_2_phones"),
    *("get_caps_1_freetext", "get_caps_2_freetext", "get_caps_3_freetext", "first_character_1_freetext"),
    "first_character_2_freetext",
)
"""Parts of mult_data_wrangling, 32 rows each, that take something out of a short text."""
MEMBERS = {
    "fever": "fact_checker/fever",
    "epistemic": "epistemic_reasoning",
    "colour": "color/hcl",
    "arithmetic": "arithmetic/2_digit_addition",
    "negation": "linguistic_mappings/sentence_negation_json",
} | {part: f"mult_data_wrangling/{part}_1" for part in WRANGLING}
"""File name → folder in the package, as in conf/data."""
STRIP = {"colour": "What is the color most closely matching this HCL representation: "}
STRIP_END = {"colour": " ?"}
SHIPPED = ("fever", "arithmetic", "negation")
"""Tasks of conf/task, whose rows are read from MEMBERS here."""


def source(name: str) -> SourceConfig:
    """Return where a task's rows are."""
    return SourceConfig(str(FOLDER / "data" / f"{name}.jsonl"))


OWN = (
    TaskConfig(
        name="epistemic",
        source=source("epistemic"),
        inputs={"text": "input"},
        target="target",
        output="label",
        instruction="Does the hypothesis follow from the premise? Answer with one of: {labels}.",
        max_new_tokens=8,
    ),
    TaskConfig(
        name="colour",
        source=source("colour"),
        inputs={"colour": "input"},
        target="target",
        output="label",
        instruction="Which colour is it? The possible colours are: {labels}. Answer with the colour only.",
        max_new_tokens=4,
        near_duplicate=1.0,  # inputs differ by their numbers only
    ),
    TaskConfig(
        name="wrangling",
        source=source("wrangling"),
        inputs={"operation": "operation", "text": "input"},
        target="{{ target[1:-1] }}",  # without its quotes
        output="text",
        instruction="Do what is asked with the text in quotes. Answer with the result only.",
        max_new_tokens=16,
        near_duplicate=1.0,  # dates and numbers differ by a few characters
    ),
)
TASKS = (*SHIPPED, *(task.name for task in OWN))


@dataclass(frozen=True)
class Cell:
    """One task tuned with one setting: a line of the journal."""

    key: str
    """Hash of all settings that determine it."""
    task: str
    setting: str
    metric: str
    """The primary one."""
    metrics: dict[str, float]
    """Of the test split, each as a fraction."""
    train: int
    """Examples."""
    dev: int
    test: int
    steps: int
    best_step: int
    seconds: float
    """Processor time of loading, training and evaluating on dev; of a resumed training, that since it was resumed."""
    wall_seconds: float
    """Wall time of training and evaluating on dev."""

    @property
    def value(self) -> float:
        """The primary metric, in percent."""
        return 100 * self.metrics[self.metric]


class Effect(NamedTuple):
    """What a setting changes, over tasks."""

    difference: float
    """Mean over tasks of the primary metric less the default's, in points."""
    error: float | None
    """Its standard error over tasks; None for one task."""
    seconds: float
    """Mean processor time of a training."""


def main(arguments: list[str]) -> None:
    """Measure what is not in the journal, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument(
        "--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="SETTING", help=", ".join(SETTINGS)
    )
    parser.add_argument("--rows", type=int, default=ROWS, help=f"training rows, at most; default: {ROWS}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args(arguments)
    taken = f"{FOLDER} is in use by another process: wait until it is done"
    with exclusive_lock(FOLDER / "lock", lambda: EngineError(taken)):
        cells = list(measured(options.tasks, [DEFAULT, *options.settings], options.rows))
    print(json.dumps(summary(cells)) if options.json else table(cells))


# Measuring.


def measured(tasks: Sequence[str], settings: Sequence[str], rows: int) -> Iterator[Cell]:
    """Yield every cell, of the journal or new."""
    configs = {name: composed(SETTINGS[name]) for name in dict.fromkeys(settings)}
    known = {cell.key: cell for cell in read_journal(JOURNAL, Cell)}
    bench = Workbench(configs[DEFAULT])
    for name in dict.fromkeys(tasks):
        task = sampled(task_config(name), rows)
        for setting, config in configs.items():
            tuner = tuner_of(config)
            key = sha256_json({"tuner": to_builtins(tuner), **bench.identity, "task": to_builtins(task)})
            if key not in known:
                known[key] = bench.measure(task, tuner, key=key, setting=setting)
                append_record(JOURNAL, known[key])
            cell = known[key]
            note(f"{name}, {setting}: {cell.metric} {cell.value:.1f}%, {cell.seconds:.0f} s of the processor")
            yield cell


def composed(overrides: Sequence[str]) -> Config:
    """Return conf/ with overrides, the model on one thread."""
    return check(yaml.safe_load(compose(["model.threads=1", "checkpoint=[base,lora]", *overrides])))


def tuner_of(config: Config) -> TunerConfig:
    """Return how the `lora` checkpoint is made."""
    tuner = config.checkpoints["lora"].tuner
    assert tuner is not None
    return tuner


def task_config(name: str) -> TaskConfig:
    """Return a task whose rows lie in this benchmark's folder."""
    task = composed([f"task={name}"]).task if name in SHIPPED else next(task for task in OWN if task.name == name)
    return replace(task, source=source(name))


def sampled(task: TaskConfig, rows: int) -> TaskConfig:
    """Return a task that takes no more rows than are asked for."""
    total = rows + DEV + TEST
    return replace(task, max_rows=total, splits=SplitConfig(rows / total, DEV / total, TEST / total))


class Workbench:
    """What all cells share: the model and the rows, made when the first cell needs them."""

    def __init__(self, config: Config):
        self._config = config

    @property
    def identity(self) -> dict[str, Any]:
        """What determines a cell besides task and tuner."""
        model, data = self._config.model, self._data_config
        return {
            "seed": self._config.seed,
            "model": model.source | {"dtype": precision_of(model)},
            "data": to_builtins(data),
        }

    @property
    def _data_config(self) -> DataConfig:
        data = self._config.data
        strip, strip_end = {**data.strip, **STRIP}, {**data.strip_end, **STRIP_END}
        return replace(data, folder="data", members=MEMBERS, strip=strip, strip_end=strip_end, limits={})

    @cached_property
    def base(self) -> LocalModel:
        """The untuned model, loaded once its folder and the tasks' rows are there."""
        with output_folder(FOLDER / "model") as folder:
            build(self._config.model.source, folder)
        write_rows(self._data_config)
        return LocalModel.load(FOLDER / "model", None, self._config.model)

    def measure(self, task: TaskConfig, tuner: TunerConfig, *, key: str, setting: str) -> Cell:
        """Tune and answer."""
        # 1. Splits and training texts, of the same rows for every setting.
        seed, model, base = self._config.seed, self._config.model, self.base
        with output_folder(FOLDER / "prepare") as folder:
            prepare(task, seed, model_folder=FOLDER / "model", folder=folder, collected=FOLDER / "collected")
        with output_folder(FOLDER / "training_set") as folder:
            write_training_set(NAME, tuner, seed, prepared=FOLDER / "prepare", folder=folder)
        # 2. Tuning, which keeps the step that is best on dev.
        start = time.process_time()
        with output_folder(FOLDER / "checkpoint") as folder:
            finetune(
                NAME, tuner, model, seed,
                model_folder=FOLDER / "model", training_set=FOLDER / "training_set", folder=folder,
            )  # fmt: skip
        seconds = time.process_time() - start
        record = read_json(FOLDER / "checkpoint/checkpoint/checkpoint.json", CheckpointRecord)
        took = read_json(FOLDER / "checkpoint/metrics.json", CheckpointMetrics)
        # 3. The test split, answered with the plain prompt.
        asked = read_json(FOLDER / "prepare/task.json", Task)
        test = read_jsonl(FOLDER / "prepare/test.jsonl", Example)
        metrics = self._quality(base.with_checkpoint(FOLDER / "checkpoint/checkpoint"), asked, test)
        gc.collect()  # the trainer and its model refer to each other
        return Cell(
            key=key, task=task.name, setting=setting, metric=task.metric or next(iter(metrics)), metrics=metrics,
            train=took.labels_used, dev=took.dev_labels_used, test=len(test), steps=record.steps or 0,
            best_step=record.best_step or 0, seconds=seconds, wall_seconds=took.train_seconds_with_evaluation,
        )  # fmt: skip

    def _quality(self, model: LocalModel, task: Task, test: Sequence[Example]) -> dict[str, float]:
        strategy, kind = zero_shot(task, [], self._config.seed), output_of(task)
        answers = model.generate([strategy(example) for example in test], constrained(task, 0).decoding)
        metrics = quality_metrics(self._config.metrics, task.output)
        parsed = [kind.read(answer.text).answer for (answer,) in answers]
        return measure_quality(metrics, task, parsed, [kind.canonical(example.target) for example in test])


def write_rows(config: DataConfig) -> None:
    """Write the rows of every task, those of `wrangling` with the operation that the part's name says."""
    build_data(config, FOLDER)
    folder = FOLDER / config.folder
    write_jsonl(
        folder / "wrangling.jsonl",
        [
            {**row, "operation": re.sub(r"_\d.*", "", part).replace("_", " ")}
            for part in WRANGLING
            for row in read_jsonl(folder / f"{part}.jsonl", dict[str, str])
            if row["target"] != "''"  # nothing to take out
        ],
    )


# Reporting.


def effects(cells: Sequence[Cell]) -> dict[str, Effect]:
    """Return what each setting changes, over the tasks."""
    values = by_setting(cells)
    default = np.array([cell.value for cell in values[DEFAULT]])
    found = {}
    for setting, own in values.items():
        differences = np.array([cell.value for cell in own]) - default
        error = float(differences.std(ddof=1) / len(differences) ** 0.5) if len(differences) > 1 else None
        found[setting] = Effect(float(differences.mean()), error, float(np.mean([cell.seconds for cell in own])))
    return found


def by_setting(cells: Sequence[Cell]) -> Mapping[str, list[Cell]]:
    """Return the cells of each setting, in the order of tasks."""
    return {name: [cell for cell in cells if cell.setting == name] for name in dict.fromkeys(c.setting for c in cells)}


def summary(cells: Sequence[Cell]) -> dict[str, Any]:
    """Return the object that --json prints."""
    return {
        "settings": {
            setting: {
                "mean_difference_points": effect.difference,
                "standard_error_points": effect.error,
                "mean_training_cpu_seconds": effect.seconds,
            }
            for setting, effect in effects(cells).items()
        },
        "cells": [{key: value for key, value in asdict(cell).items() if key != "key"} for cell in cells],
    }


def table(cells: Sequence[Cell]) -> str:
    """Return a task a row and a setting a column as Markdown, and below it what each setting changes."""
    found, values = effects(cells), by_setting(cells)
    lines = [
        f"| task | metric | train / dev / test | {' | '.join(values)} |",
        f"|---|---|---:|{'---:|' * len(values)}",
    ]
    for row in zip(*values.values(), strict=True):
        first = row[0]
        shown = [f"{cell.value:.1f}%" for cell in row]
        sizes = f"{first.train} / {first.dev} / {first.test}"
        lines.append(f"| {first.task} | {first.metric} | {sizes} | {' | '.join(shown)} |")
    changed = {setting: effect for setting, effect in found.items() if setting != DEFAULT}
    differences = ["", *(f"{effect.difference:+.1f}" for effect in changed.values())]
    errors = ["", *("" if effect.error is None else f"{effect.error:.1f}" for effect in changed.values())]
    seconds = [f"{effect.seconds:.0f}" for effect in found.values()]
    lines += [
        f"| mean difference from the default, points |  |  | {' | '.join(differences)} |",
        f"| its standard error over tasks, points |  |  | {' | '.join(errors)} |",
        f"| mean training time, CPU s |  |  | {' | '.join(seconds)} |",
    ]
    return "\n".join(lines)


def note(text: str) -> None:
    """Say on standard error how far the run is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    entry.run(main)
