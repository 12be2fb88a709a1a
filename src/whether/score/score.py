"""The score stage: what an arm's generations mean, and how good they are. It runs no model.

Writes into artifacts/score/<arm>/:

predictions.jsonl   a `whether.records.Prediction` a line, dev before test, then rows of unseen labels, if there are any
metrics.json        {"dev": …, "test": …} with the metrics of `split_metrics` ("test" only where it was asked), then
                    latency_p50, latency_p95, n_dev, n_test, n_latency (timed requests) and peak_memory; for a served
                    model latency is of all requests, next to `concurrency - 1` others each, and peak_memory is None.
                    `dtype` is the precision of the weights that answered; None: a served model's, or not recorded
failed.jsonl        a `whether.records.FailedRow` a line: the rows that were not answered, with file, line and reason
adherence.json      outputs that did not have the form asked for, by kind, and the leniencies that their answers
                    were read with (`whether.records.Adherence`)
lm_eval/            the test split as a task for stock lm-eval (whether.score.lm_eval_task), for arms that it can
                    repeat: greedy answers, read by the task's own rule
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from whether.config import MetricConfig, PromptConfig
from whether.metrics.metric import Metric, quality_metrics
from whether.outputs.decoding import ParsedOutput, build_decoding, greedy, parse_generations
from whether.outputs.kinds import output_of
from whether.outputs.output import score_answer
from whether.records import (
    ARTIFACTS,
    BuildTimes,
    Example,
    FailedRow,
    Generations,
    Latency,
    Prediction,
    RowPlace,
    Split,
    Task,
    read_json,
    read_jsonl,
    read_precision,
    write_json,
    write_jsonl,
)
from whether.score.adherence import adherence
from whether.score.lm_eval_task import export
from whether.score.metrics import latency_metrics, split_metrics

EVALUATED_SPLITS: tuple[Split, ...] = ("dev", "test")


@dataclass(frozen=True)
class ScoredTask:
    """What answers are compared with."""

    task: Task
    examples: dict[str, Example]
    """Of dev, test and unseen labels, by id."""
    unseen_task: Task | None
    """None where no labels were left out."""
    metrics: dict[str, Metric]
    """Metrics of answers that the task has."""
    places: dict[str, RowPlace] = field(default_factory=dict)
    """Where each example stands in the data, by id."""


def read_task(prepared: Path, metrics: Mapping[str, MetricConfig]) -> ScoredTask:
    """Read artifacts/prepare; `metrics` are those that the settings select."""
    unseen, task = (prepared / "unseen.jsonl").exists(), read_json(prepared / "task.json", Task)
    files = [*EVALUATED_SPLITS, *(["unseen"] if unseen else [])]
    examples = [one for name in files for one in read_jsonl(prepared / f"{name}.jsonl", Example)]
    lines = prepared / "lines.jsonl"
    places = read_jsonl(lines, RowPlace) if lines.exists() else []  # not there in records of before 0.5
    return ScoredTask(
        task,
        {one.id: one for one in examples},
        read_json(prepared / "unseen_task.json", Task) if unseen else None,
        quality_metrics(metrics, task.output, output_of(task).metrics),
        {place.id: place for place in places},
    )


def score(
    arm: str, prompt_name: str, prompt: PromptConfig, seed: int, scored: ScoredTask, *, artifacts: Path, folder: Path
) -> None:
    """Score one arm from artifacts/generate/<arm> and artifacts/prompt/<prompt>, and write the records named above."""
    asked, answered = artifacts / "prompt" / prompt_name, artifacts / "generate" / arm
    retrieved = read_json(asked / "retrieval.json", dict[str, bool])
    answers = read_jsonl(answered / "generations.jsonl", Generations)
    strategy = build_decoding(prompt_name, prompt, scored.task, seed)
    predictions, outputs = _read(answers, prompt_name, prompt, seed, scored, retrieved=retrieved)
    seconds, memory = _latency(asked, answered, predictions)
    write_jsonl(folder / "predictions.jsonl", predictions)
    how = {"peak_memory": memory, "dtype": read_precision(answered)}
    write_json(folder / "metrics.json", _metrics(scored, predictions, seconds) | how)
    write_jsonl(folder / "failed.jsonl", failed_rows(predictions, scored.places))
    outputs = [reply for reply in outputs if not reply.generation.error]
    write_json(folder / "adherence.json", adherence(scored.task, strategy, outputs))
    if strategy.is_plain and memory is not None and not answers[0].classifier:
        tested = [line for line in predictions if line.split == "test"]
        export(scored.task, arm, tested, folder / "lm_eval", ARTIFACTS / "score" / arm / "lm_eval")


def predictions_of(
    answers: Sequence[Generations], prompt_name: str, prompt: PromptConfig, seed: int, scored: ScoredTask
) -> list[Prediction]:
    """Return what the answers of an arm mean, in their order, calibration requests left out."""
    return _read(answers, prompt_name, prompt, seed, scored, retrieved={})[0]


def _read(
    answers: Sequence[Generations], prompt_name: str, prompt: PromptConfig, seed: int, scored: ScoredTask, *,
    retrieved: Mapping[str, bool],
) -> tuple[list[Prediction], list[ParsedOutput]]:  # fmt: skip
    """Return predictions, and what was parsed of the task's own rows."""
    predictions, outputs = list[Prediction](), list[ParsedOutput]()
    strategy = build_decoding(prompt_name, prompt, scored.task, seed)
    for call in calls_of(answers):
        unseen = scored.unseen_task if call[-1].split == "unseen" else None
        task = unseen or scored.task
        parsed = parse_generations(task, build_decoding(prompt_name, prompt, task, seed) if unseen else strategy, call)
        outputs += [] if unseen else [reply for _, reply in parsed]
        predictions += [
            prediction(
                task,
                cast("Split", one.split),
                scored.examples[one.id],
                one.prompt,
                reply,
                retrieved=retrieved.get(one.id),
            )
            for one, reply in parsed
        ]
    return predictions, outputs


def score_baseline(name: str, scored: ScoredTask, *, artifacts: Path, folder: Path) -> None:
    """Score the answers in artifacts/baseline/fitted/<name>, and write predictions.jsonl and metrics.json."""
    answered = artifacts / "baseline" / "fitted" / name
    answers = read_jsonl(answered / "generations.jsonl", Generations)
    reading = greedy(scored.task, 0)
    predictions = [
        prediction(scored.task, cast("Split", one.split), scored.examples[one.id], one.prompt, reply, retrieved=None)
        for call in calls_of(answers)
        for one, reply in parse_generations(scored.task, reading, call)
    ]
    latency = read_json(answered / "latency.json", Latency)
    how = {"peak_memory": latency.peak_memory, "dtype": None}
    seconds = [one.seconds for one in latency.requests]
    write_jsonl(folder / "predictions.jsonl", predictions)
    write_json(folder / "metrics.json", _metrics(scored, predictions, seconds) | how)


def calls_of(answers: Sequence[Generations]) -> list[list[Generations]]:
    """Return answers by call, in order."""
    return [list(group) for _, group in groupby(answers, key=lambda one: one.call)]


def prediction(
    task: Task, split: Split, example: Example, prompt: str, reply: ParsedOutput, *, retrieved: bool | None
) -> Prediction:
    """Return the record of a reply: what was parsed, and whether it is right."""
    generation = reply.generation
    return Prediction(
        id=example.id,
        split=split,
        output=generation.text,
        answer=reply.answer,
        target=example.target,
        score=score_answer(output_of(task), reply.answer, example.target),
        valid=reply.valid,
        leniencies=list(reply.leniencies),
        prompt=prompt,
        input_tokens=generation.input_tokens,
        cached_tokens=generation.cached_tokens,
        output_tokens=generation.output_tokens,
        seconds=generation.seconds,
        samples=reply.samples,
        retrieved=retrieved,
        error=generation.error,
    )


def failed_rows(predictions: Sequence[Prediction], places: Mapping[str, RowPlace]) -> list[FailedRow]:
    """Return the rows that were not answered; `places` says by id where they stand in the data."""
    failed = []
    for line in predictions:
        if line.error:
            place = places.get(line.id)
            where = (place.file, place.line) if place else (None, None)
            failed.append(FailedRow(line.id, line.split, line.error, *where))
    return failed


def _latency(asked: Path, answered: Path, predictions: Sequence[Prediction]) -> tuple[list[float], int | None]:
    """Return the seconds of requests, and peak memory: building and generation of each where sent one at a time.

    A served model's were requests by themselves; to ask again would cost again, and be answered by what is kept.
    """
    latency = read_json(answered / "latency.json", Latency)
    if not latency.requests:
        return [line.seconds for line in predictions if not line.error], None
    building = {one.id: one.seconds for one in read_json(asked / "timing.json", BuildTimes).requests}
    return [one.seconds + building.get(one.id, 0.0) for one in latency.requests], latency.peak_memory


def _metrics(scored: ScoredTask, predictions: Sequence[Prediction], seconds: Sequence[float]) -> dict[str, Any]:
    by_split = {split: [line for line in predictions if line.split == split] for split in EVALUATED_SPLITS}
    metrics: dict[str, Any] = {
        split: split_metrics(scored.task, lines, scored.metrics) for split, lines in by_split.items() if lines
    }
    metrics |= latency_metrics(seconds)
    unseen = [line.score for line in predictions if line.split == "unseen"]
    if unseen:
        metrics["unseen_labels"] = fmean(unseen)
    return metrics | {f"n_{split}": len(lines) for split, lines in by_split.items()} | {"n_latency": len(seconds)}
