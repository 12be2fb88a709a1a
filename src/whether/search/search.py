"""A search of tuner settings on dev. The test split is never read.

Writes into artifacts/search/<checkpoint>/, after each trial:

search.json    `whether.records.SearchRecord`: what is searched, the best trial, the importance of each setting
trials.jsonl   a `whether.records.TrialRecord` a line, in the order in which they were run
best.yaml      the best settings as a checkpoint, to be put into conf/checkpoint/
search.svg     the score by trial, and against each setting

It is a command, not a stage of the pipeline: `dvc repro` never searches. What it leaves is a YAML that someone puts
into conf/, and from there on everything is as for any other checkpoint.
"""

import dataclasses
import gc
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whether.config import BASE, Config, TunerConfig
from whether.errors import ConfigError, RecordError, near_matches
from whether.finetune import checkpoints
from whether.finetune.finetune import TrainingData, read_data, within_length
from whether.model.precision import with_native_precision
from whether.records import (
    STATE,
    SearchRecord,
    TrialRecord,
    exclusive_lock,
    read_json,
    read_jsonl,
    sha256_folder,
    sha256_json,
    to_builtins,
    write_json,
    write_jsonl,
    write_text,
)
from whether.search.best import best_trial, checkpoint_yaml
from whether.search.plots import draw
from whether.search.space import Settings, Space
from whether.search.suggest import importance, optuna, suggest

if TYPE_CHECKING:
    from whether.search.trial import SearchSetup

logger = logging.getLogger(__name__)

RECORDS = ("trials.jsonl", "best.yaml", "search.svg", "search.json")


def search(name: str, config: Config, *, artifacts: Path, restart: bool = False) -> Path:
    """Try settings for checkpoint `name` until there are `search.trials` or time is up; return the records' folder.

    Resumes where an earlier call was stopped or killed, a trial that was under way included; `restart` starts over.
    Raises ConfigError for a checkpoint or space that does not fit, MissingPackageError without optuna, and RecordError
    where the folder holds trials of another search.
    """
    tuner, config = _tuner(name, config), dataclasses.replace(config, model=with_native_precision(config.model))
    space = Space(tuner, config.search.parameters)
    optuna()
    from whether.search.trial import SearchSetup

    data, model_folder = read_data(artifacts / "training_set" / name), artifacts / "model"
    lines = artifacts / "prepare" / "lines.jsonl"
    data, _ = within_length(data, tuner.max_length, model_folder, config.policy.max_failed, lines)
    record = _record(name, tuner, config, data, model_folder)
    folder, state = artifacts / "search" / name, STATE / "search" / name
    question = SearchSetup(record, space, config.search, config.model, data, model_folder, state)
    taken = f"another search of {state.name} is running here: wait for it, or stop it"
    with exclusive_lock(state / "lock", lambda: RecordError(taken)):
        trials = _earlier_trials(folder, record, restart)
        _delete_state(state, trials)
        write_json(folder / "search.json", record)
        for trial in _new_trials(question, trials):
            trials.append(trial)
            _write(folder, question, trials)
            _delete_state(state, trials)
            _log_trial(trial, trials, config.search.trials)
        if trials:
            _write(folder, question, trials)
    return folder


def _tuner(name: str, config: Config) -> TunerConfig:
    tuned = {key: checkpoint.tuner for key, checkpoint in config.checkpoints.items() if checkpoint.tuner}
    if name == BASE:
        raise ConfigError(f"{BASE} has no tuner to search settings for{near_matches('', tuned)}")
    if name not in tuned:
        raise ConfigError(
            f"no checkpoint {name!r} in params.yaml{near_matches(name, tuned)}; one that is in conf/checkpoint is"
            f" selected by `whether run checkpoint=[base,{name}]`"
        )
    return tuned[name]


def _record(name: str, tuner: TunerConfig, config: Config, data: TrainingData, model_folder: Path) -> SearchRecord:
    """Describe the search. Its key is of all that decides how a trial ends but the code, which is often edited."""
    settings = config.search
    space = {key: _to_builtins(parameter) for key, parameter in settings.parameters.items()}
    decisive = {
        "space": space,
        "pruning": [settings.pruner, settings.startup_trials, settings.warmup_evaluations],
        "tuner": to_builtins(tuner),
        "seed": config.seed,
        "dtype": config.model.dtype,
        "model": sha256_folder(model_folder),
        "task": to_builtins(data.task),
        "train": [to_builtins(example) for example in data.train],
        "dev": [to_builtins(example) for example in data.dev],
    }
    return SearchRecord(
        checkpoint=name,
        key=sha256_json(decisive),
        task=data.task.name,
        model=config.model.name,
        dtype=config.model.dtype,
        seed=config.seed,
        train_examples=len(data.train),
        dev_examples=len(data.dev),
        space=space,
        pruner=settings.pruner,
        startup_trials=settings.startup_trials,
        warmup_evaluations=settings.warmup_evaluations,
        tuner=to_builtins(tuner),
    )


def _to_builtins(parameter: object) -> dict[str, object]:
    values: dict[str, object] = to_builtins(parameter)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _earlier_trials(folder: Path, record: SearchRecord, restart: bool) -> list[TrialRecord]:
    """Return the trials of this search that are there. Raises RecordError for those of another one."""
    if restart:
        for name in RECORDS:
            (folder / name).unlink(missing_ok=True)
    if not (folder / "trials.jsonl").exists():
        return []
    earlier = read_json(folder / "search.json", SearchRecord)
    trials = read_jsonl(folder / "trials.jsonl", TrialRecord)
    if earlier.key != record.key:
        keys = ("task", "model", "dtype", "seed", "train_examples", "dev_examples", "space", "pruner", "startup_trials",
                "warmup_evaluations", "tuner")  # fmt: skip
        differing = [key for key in keys if getattr(earlier, key) != getattr(record, key)] or ["weights or examples"]
        raise RecordError(
            f"{folder} holds {len(trials)} trials of a search that differs in {', '.join(differing)}: go back to its"
            " settings, move the folder away to keep it, or start over with --restart"
        )
    return trials


def _new_trials(question: "SearchSetup", trials: Sequence[TrialRecord]) -> Iterator[TrialRecord]:
    """Run one trial after another; `trials` are those that are recorded when the next is due."""
    from whether.search.trial import run_trial

    started, config = time.monotonic(), question.config
    while len(trials) < config.trials:
        if config.minutes is not None and time.monotonic() - started > 60 * config.minutes:
            logger.info("time is up after %d of %d trials: run the same again to continue", len(trials), config.trials)
            return
        settings = suggest(trials, question.space, config, question.record.seed)
        if settings is None:
            logger.info("all settings in the space were tried, in %d trials", len(trials))
            return
        logger.info("trial %d of %d: %s", len(trials) + 1, config.trials, format_settings(settings))
        yield run_trial(question, settings, list(trials))
        gc.collect()  # Trainer and its callbacks hold each other, and with them the trial's model


def _write(folder: Path, question: "SearchSetup", trials: Sequence[TrialRecord]) -> None:
    """Write the records; the trials first, from which the rest can be made again."""
    write_jsonl(folder / "trials.jsonl", trials)
    space, best = question.space, best_trial(trials)
    ranked = importance(trials, space, question.config, question.record.seed)
    record = dataclasses.replace(question.record, best=best.number if best else None, importance=ranked)
    write_json(folder / "search.json", record)
    draw(record, trials, space.parameters, folder / "search.svg")
    if best:
        write_text(folder / "best.yaml", checkpoint_yaml(record, trials, best, space))


def _log_trial(trial: TrialRecord, trials: Sequence[TrialRecord], count: int) -> None:
    best = best_trial(trials)
    result = trial.state if trial.dev_exact is None else f"{trial.state}, {trial.dev_exact:.1%} of dev"
    logger.info(
        "trial %d of %d: %s in %.0f s; best so far: %s",
        trial.number + 1, count, result, trial.seconds or 0,
        f"{best.dev_exact:.1%} of dev, trial {best.number + 1}" if best else "none",
    )  # fmt: skip


def _delete_state(state: Path, trials: Sequence[TrialRecord]) -> None:
    """Delete the training states of trials that are recorded, and of those that nobody will resume."""
    for folder in state.glob("trial-*"):
        if int(folder.name.split("-")[1]) != len(trials):
            checkpoints.delete_state(folder)


def format_settings(settings: Settings) -> str:
    """Return settings as they read in a line."""
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in settings.items())  # fmt: skip
