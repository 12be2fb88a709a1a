"""The stage `baseline`: a small model is fitted on the training split and answers dev and test.

Writes into artifacts/baseline/fitted/<name>/:

baseline.json       `whether.records.BaselineRecord`; the only file where it cannot answer the task
checkpoint/         what was fitted, as its `save` wrote it
metrics.json        `whether.records.CheckpointMetrics`: labels and seconds that fitting took
generations.jsonl   a `whether.records.Generations` a line, dev before test
latency.json        `whether.records.Latency`: the first requests of dev again, one at a time
"""

import logging
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from whether.baseline.data import Baseline, BaselineData, LabelledTexts
from whether.config import BaselineConfig, Component, ServingConfig, build
from whether.errors import ConfigError, DataError
from whether.model.memory import peak_memory, restart_peak_memory
from whether.records import (
    CHECKPOINT,
    BaselineRecord,
    BaselineRow,
    BaselineTask,
    CheckpointMetrics,
    Generation,
    Generations,
    Latency,
    RequestTime,
    Split,
    named_write_errors,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)

logger = logging.getLogger(__name__)

ANSWERED: tuple[Split, ...] = ("dev", "test")


def run_baseline(
    name: str, settings: BaselineConfig, seed: int, serving: ServingConfig, *, data: Path, folder: Path
) -> None:
    """Fit baseline `name` on artifacts/baseline/data, answer dev and test, and write the records named above.

    One that cannot be fitted on these rows, such as those of a single label, is left out with a warning. Raises
    ConfigError for a model that cannot be built.
    """
    task = read_json(data / "task.json", BaselineTask)
    if not settings.goes_with(task.output):
        reason = f"it answers {' or '.join(settings.outputs)}, and the task has {task.output}"
        write_json(folder / "baseline.json", BaselineRecord(name, settings.model, fitted=False, reason=reason))
        return
    rows = {split: read_jsonl(data / f"{split}.jsonl", BaselineRow) for split in ("train", *ANSWERED)}
    # 1. Fit it.
    model, start = make_model(settings.model, f"baselines.{name}.model"), time.perf_counter()
    try:
        model.fit(BaselineData(labelled(rows["train"]), labelled(rows["dev"]), seed, task.balanced))
    except DataError as error:
        logger.warning("%s is left out: %s", name, error)
        write_json(folder / "baseline.json", BaselineRecord(name, settings.model, fitted=False, reason=str(error)))
        return
    seconds, fitting_memory = time.perf_counter() - start, peak_memory()
    restart_peak_memory()
    # 2. Its answers, and how long one takes alone.
    answers = [answer for split in ANSWERED for answer in answer_rows(model, rows[split], split)]
    latency = Latency(single_request_latency(model, rows["dev"], serving), peak_memory())
    # 3. What came of it.
    checkpoint = folder / CHECKPOINT
    with named_write_errors(checkpoint):
        checkpoint.mkdir(parents=True)
        model.save(checkpoint)
        disk = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    record = BaselineRecord(name, settings.model, fitted=True, parameters=model.parameters, disk=disk)
    write_json(folder / "baseline.json", record)
    write_json(
        folder / "metrics.json",
        CheckpointMetrics(
            labels_used=len(rows["train"]),
            dev_labels_used=len(rows["dev"]),
            train_seconds=seconds,
            train_seconds_with_evaluation=seconds,
            peak_memory=fitting_memory,
        ),
    )
    write_jsonl(folder / "generations.jsonl", [one.as_line() for one in answers])
    write_json(folder / "latency.json", latency)
    logger.info("%s: fitted on %d rows in %.1f s", name, len(rows["train"]), seconds)


def labelled(rows: Sequence[BaselineRow]) -> LabelledTexts:
    """Return rows as a baseline is fitted on them."""
    return LabelledTexts([row.text for row in rows], [row.target for row in rows])


def make_model(component: Component, where: str) -> Baseline:
    """Return the model that a component names. Raises ConfigError for what is not one."""
    model: Baseline = build(component, where=where)
    lacking = [part for part in ("fit", "answer", "save", "load", "parameters") if not hasattr(type(model), part)]
    if lacking:
        raise ConfigError(
            f"{where}: {component['_target_']} has no {', '.join(lacking)}: expected a class like"
            " whether.baseline.linear.Linear"
        )
    return model


def answer_rows(model: Baseline, rows: Sequence[BaselineRow], split: Split = "test") -> list[Generations]:
    """Answer rows in one batch; no tokens of a language model are read or written."""
    start = time.perf_counter()
    found = model.answer([row.text for row in rows])
    share = (time.perf_counter() - start) / len(rows)
    return [
        Generations(
            row.id, split, ANSWERED.index(split), row.text, [Generation(None, answer, 0, 0, 0, share)], classifier=True
        )
        for row, answer in zip(rows, found, strict=True)
    ]


def single_request_latency(model: Baseline, rows: Sequence[BaselineRow], serving: ServingConfig) -> list[RequestTime]:
    """Return the wall time of requests answered one at a time; the first `serving.warmup` are not timed."""
    times = []
    for number, row in enumerate(islice(cycle(rows), serving.warmup + serving.requests)):
        start = time.perf_counter()
        model.answer([row.text])
        if number >= serving.warmup:
            times.append(RequestTime(row.id, time.perf_counter() - start))
    return times
