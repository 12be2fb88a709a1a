"""From the records under artifacts/ to views of them: one run for the pipeline, one for each stage."""

import dataclasses
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from whether.config import BASE, PARAMS, Config, CurveConfig
from whether.printing.markdown import code, escaped
from whether.printing.secrets import without_credentials
from whether.records import (
    CHECKPOINT,
    ArmRecord,
    Example,
    LearningCurve,
    Prediction,
    Verdict,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_folder,
    sha256_json,
)
from whether.tracking.curves import curve_history, curve_metrics
from whether.tracking.names import flatten, grouped, measured, numbers
from whether.tracking.prompts import prompt_views
from whether.tracking.views import DatasetView, MetricPoint, RunView, TraceView, Views

SHOWN_FILES = {".json", ".jsonl", ".csv", ".html", ".svg", ".png", ".txt", ".md", ".yaml"}
"""Records to be opened in the browser. Weights stay where they are."""
TRACES = 20
"""Answers of an arm that MLflow shows as traces, at most."""


def read_views(config: Config, artifacts: Path) -> Views:
    """Read the records and describe the runs. Raises RecordError where a record is missing or broken."""
    return _Records(config, artifacts).views()


class _Records:
    """The records of one pipeline run, and the views of them."""

    def __init__(self, config: Config, artifacts: Path):
        self.config = config
        self.artifacts = artifacts
        report = artifacts / "report"  # of a revision before 0.2 the page is next to the verdict
        self.report = report if report.exists() else artifacts / "compare"
        self.root = artifacts.resolve().parent
        self.verdict = read_json(artifacts / "compare" / "verdict.json", Verdict)
        self.created = datetime.fromisoformat(self.verdict.provenance.created_at)
        self.experiment = experiment_name(config)
        self.params = flatten(dataclasses.asdict(config))
        self.examples = {
            split: read_jsonl(file, Example)
            for split in ("train", "dev", "test", "unseen")
            for file in [artifacts / "prepare" / f"{split}.jsonl"]
            if split != "unseen" or file.exists()
        }
        provenance = self.verdict.provenance
        self.tags = {
            "task": self.verdict.task,
            "model": self.verdict.model,
            "data_hash": provenance.data_hash,
            "model_hash": provenance.model_hash,
        }
        if provenance.dtype:
            self.tags["dtype"] = self.params["model.dtype"] = provenance.dtype
        if provenance.commit:
            self.tags |= {
                "commit": provenance.commit,
                "dirty": str(bool(provenance.dirty)).lower(),
                "mlflow.source.git.commit": provenance.commit,
            }

    def views(self) -> Views:
        checkpoints = list(dict.fromkeys(arm.checkpoint for arm in self.verdict.arms.values()))
        further = [name for name, made in self.config.checkpoints.items() if made.repeat_of in checkpoints]
        stages = [self.checkpoint(name) for name in [*checkpoints, *further]]
        stages += [self.arm(name, arm) for name, arm in self.verdict.arms.items()]
        stages += [self.benchmark(name) for name in checkpoints if name not in self.config.baselines]
        if self.verdict.learning_curve and self.verdict.learning_curve.levels:
            stages += [self.curve(self.verdict.learning_curve), *self.curve_points(self.config.curve)]
        prompts = prompt_views(self.config, self.verdict, self.artifacts, self.examples["dev"][0])
        return Views(self.verdict, self.pipeline(), stages, prompts, self.traces())

    def pipeline(self) -> RunView:
        """Its time is the verdict's: runs are listed by time, and most stages may come from an earlier run's cache."""
        verdict, compare, report = self.verdict, self.artifacts / "compare", self.report
        recommended = verdict.arms.get(verdict.recommended_arm or "")
        files = [(file, "") for folder in dict.fromkeys((compare, report)) for file in shown_files(folder)]
        files += [(file, "plots") for file in shown_files(report / "plots")]
        files += [
            (file, "prepare") for file in shown_files(self.artifacts / "prepare") if file.stem not in self.examples
        ]
        params_file = self.root / PARAMS
        return RunView(
            name=self.run_name(),
            kind="pipeline",
            content_key=sha256_file(compare / "verdict.json"),
            started=self.created,
            ended=self.created,
            params=self.params,
            tags=self.tags | {"answer": verdict.answer, "recommended_arm": verdict.recommended_arm or "none"},
            metrics=(measured(recommended.metrics) if recommended else {}) | self.data(),
            files=files,
            texts=({PARAMS.name: without_credentials(params_file.read_text("utf-8"))} if params_file.exists() else {})
            | self.data_notes(),
            datasets=self.datasets("train", "dev", "test"),
        )

    def data_notes(self) -> dict[str, str]:
        """Return what `prepare` said of the data at its end, with examples, as a file's text by its name."""
        profile: dict[str, Any] = read_json(self.artifacts / "prepare" / "profile.json")
        lines = [*profile.get("warnings", []), *profile.get("notes", [])]
        return {"data.txt": "".join(f"{line}\n" for line in lines)} if lines else {}

    def data(self) -> dict[str, float]:
        """Return what became of the task's rows, with a number for each reason why some are left out."""
        profile: dict[str, Any] = read_json(self.artifacts / "prepare" / "profile.json")
        conflicts, near = profile.get("conflicts", {}), profile.get("near_duplicates", {})
        found = profile.get("rows", {}) | {
            "test_groups": profile.get("units", {}).get("test"),
            "inputs_with_different_answers": conflicts.get("count"),
            "accuracy_ceiling": conflicts.get("ceiling"),
            "near_duplicate_rows": near.get("rows"),
            "near_duplicate_groups": near.get("groups"),
        }
        return numbers(found, "data/")

    def run_name(self) -> str:
        provenance = self.verdict.provenance
        commit = (provenance.commit[:8] if provenance.commit else "no-commit") + ("+" if provenance.dirty else "")
        # The date first: the UI's list cuts names, and within one experiment the rest is mostly the same.
        return f"{self.created:%Y-%m-%d %H:%M} {self.verdict.task} {self.verdict.model} {commit}"

    def checkpoint(self, name: str) -> RunView:
        folder = self.made(name)
        file = folder / "history.jsonl"
        rows: list[dict[str, Any]] = read_jsonl(file) if file.exists() else []
        started, ended = self.times(folder, sum(row.get("seconds") or 0 for row in rows))
        totals = numbers(read_json(folder / "metrics.json"))
        return self.stage(
            RunView(
                name=name,
                kind="checkpoint",
                started=started,
                ended=ended,
                note=self.said_of(name),
                params=self.params_below(f"checkpoints.{name}", f"baselines.{name}"),
                tags={"checkpoint": name},
                metrics={f"training/{metric}": value for metric, value in totals.items()} | self.prices(name),
                history=list(history(rows, started)),
                datasets=self.datasets("train", "dev") if file.exists() else [],
            ),
            folder,
            folder / CHECKPOINT,
        )

    def made(self, checkpoint: str) -> Path:
        """Return the folder of what answers."""
        if checkpoint in self.config.baselines:
            return self.artifacts / "baseline" / "fitted" / checkpoint
        return self.artifacts / "finetune" / checkpoint

    def said_of(self, checkpoint: str) -> str:
        settings = self.config.checkpoints.get(checkpoint)
        if checkpoint in self.config.baselines:
            return "A small model that answers without a language model."
        if settings and settings.served:
            address = without_credentials(settings.served.base_url)
            return f"Another model: {code(settings.served.model)} at {code(address)}."
        if checkpoint == BASE:
            return "The base model as it is."
        if settings and settings.repeat_of:
            return f"Training run {settings.run} of `{settings.repeat_of}`, from another seed: see *Model metrics*."
        return "Training, step by step: see *Model metrics*."

    def prices(self, checkpoint: str) -> dict[str, float]:
        """Return the price of making a checkpoint; nothing for base."""
        cost = self.verdict.training.get(checkpoint)
        prices = {key: value for key, value in vars(cost).items() if key.startswith("usd")} if cost else {}
        return {f"cost/training_{name}": value for name, value in numbers(prices).items()}

    def arm(self, name: str, arm: ArmRecord) -> RunView:
        folder = self.artifacts / "score" / name
        generated = self.artifacts / "generate" / name if arm.prompt else self.made(name)
        who = f"Checkpoint `{arm.checkpoint}` with prompt `{arm.prompt}`" if arm.prompt else f"Baseline `{name}`"
        predictions = read_jsonl(folder / "predictions.jsonl", Prediction)
        started, ended = self.times(generated, sum(prediction.seconds for prediction in predictions))
        return self.stage(
            RunView(
                name=name,
                kind="arm",
                started=started,
                ended=ended,
                note=f"{who}. Every answer on dev and test, with input and target: artifact `predictions.json`.",
                params=self.params_below(
                    f"checkpoints.{arm.checkpoint}", f"prompts.{arm.prompt}", f"baselines.{name}", "serving"
                ),
                tags={"checkpoint": arm.checkpoint, "prompt": arm.prompt, "answer": arm.answer},
                metrics=grouped(numbers(read_json(folder / "metrics.json")), "size")
                | measured(arm.metrics)
                | {f"dev/{metric}": value for metric, value in arm.dev.items()}
                | {f"test/lenient_{name}": share for name, share in arm.leniencies.items()},
                history=[
                    MetricPoint(f"test/{self.verdict.metric}_by_run", value, run, ended)
                    for run, value in enumerate(arm.by_run, 1)
                ],
                table=self.table(predictions),
                datasets=self.datasets("dev", "test"),
            ),
            folder,
            generated,
        )

    def traces(self) -> dict[str, list[TraceView]]:
        """Return answers of the arms that the verdict compares to the same test examples: first where they disagree."""
        inputs = {example.id: example.inputs for example in self.examples["test"]}
        arms = list(dict.fromkeys(self.verdict.representatives.values()))
        answers = {}
        for arm in arms:
            rows = read_jsonl(self.artifacts / "score" / arm / "predictions.jsonl", Prediction)
            answers[arm] = {row.id: row for row in rows if row.split == "test"}

        def alike(example: str) -> bool:
            return len({answers[arm][example].score for arm in arms}) == 1

        chosen = sorted(inputs, key=alike)[:TRACES]
        return {
            arm: [
                TraceView(
                    arm=arm, example=row.id, inputs=inputs[row.id], prompt=row.prompt, output=row.output,
                    answer=row.answer, target=row.target, score=row.score, valid=row.valid,
                    input_tokens=row.input_tokens, output_tokens=row.output_tokens, started=self.created,
                    seconds=row.seconds,
                )
                for row in map(answers[arm].__getitem__, chosen)
            ]
            for arm in arms
        }  # fmt: skip

    def benchmark(self, checkpoint: str) -> RunView:
        folder = self.artifacts / "benchmark" / checkpoint
        started, ended = self.times(folder)
        results: dict[str, Any] = read_json(folder / "results.json")
        tasks = numbers({task: found["value"] for task, found in results.items()}, "retention/")
        return self.stage(
            RunView(
                name=f"benchmark-{checkpoint}",
                kind="benchmark",
                started=started,
                ended=ended,
                note=f"What checkpoint `{checkpoint}` keeps of the base model's general ability (`retention/`), and how"
                " fast and large it is (`serving/`).",
                params=self.params_below(f"checkpoints.{checkpoint}", "benchmark"),
                tags={"checkpoint": checkpoint},
                metrics=tasks | grouped(numbers(read_json(folder / "metrics.json")), "benchmark"),
            ),
            folder,
        )

    def curve(self, curve: LearningCurve) -> RunView:
        """One run with number of labels as step, so that MLflow draws the curve."""
        compare, plots = self.artifacts / "compare", self.report / "plots"
        view = RunView(
            name="learning-curve",
            kind="curve",
            started=self.created,
            ended=self.created,
            note="\n".join(f"- {escaped(reason)}" for reason in curve.reasons)
            + "\n\nThe step of a metric is the number of labels.",
            params=self.params_below("curve"),
            tags=self.tags | {"checkpoint": curve.checkpoint},
            metrics=curve_metrics(curve),
            history=curve_history(curve, self.created),
            files=[(compare / "learning_curve.csv", ""), (plots / "learning_curve.svg", "")],
        )
        shown = {"experiment": self.experiment, "params": view.params, "curve": dataclasses.asdict(curve)}
        return dataclasses.replace(view, content_key=sha256_json(shown))

    def curve_points(self, settings: CurveConfig) -> Iterator[RunView]:
        """Yield a run for each point whose folder is there."""
        points: dict[str, Any] = read_json(self.artifacts / "compare" / "curve_points.json")
        for labels, seed in product(settings.labels, settings.seeds):
            point = f"{labels}-{seed}"
            folder = self.artifacts / "curve" / "checkpoint" / point
            if folder.exists():
                started, ended = self.times(folder)
                means = numbers(points.get(point, {}))
                view = RunView(
                    name=f"curve-{labels}-{seed}",
                    kind="curve",
                    started=started,
                    ended=ended,
                    note=f"A point of the learning curve: {labels} labelled training examples, seed {seed}.",
                    params=self.params_below("curve"),
                    tags={"labels": str(labels), "curve_seed": str(seed)},
                    metrics={f"curve/{name}": value for name, value in means.items()} | {"curve/labels": labels},
                )
                yield self.stage(view, folder, self.artifacts / "curve" / "data" / point)

    def stage(self, view: RunView, *folders: Path) -> RunView:
        """Complete a stage's view: its records, what all runs say, and the key of all that it shows."""
        shown = {
            "experiment": self.experiment,
            "kind": view.kind,
            "name": view.name,
            "records": [sha256_folder(folder, "*") for folder in folders],
            "params": view.params,
            "metrics": view.metrics,
        }
        return dataclasses.replace(
            view,
            content_key=sha256_json(shown),
            tags=self.tags | view.tags,
            files=[
                (file, "")
                for folder in folders
                for file in shown_files(folder)
                if file.name not in ("predictions.jsonl", "generations.jsonl")
            ],
        )

    def times(self, folder: Path, seconds: float = 0) -> tuple[datetime, datetime]:
        """Return when a stage began and ended, as far as its records show.

        It ended when its metrics were written. A file that DVC checked out again is younger than the verdict made from
        it; then the verdict's time stands in. It took at least the `seconds` that its records account for.
        """
        file = next(filter(Path.exists, (folder / name for name in ("metrics.json", "latency.json"))), folder)
        written = datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.is_file() else self.created
        ended = min(written, self.created)
        return ended - timedelta(seconds=seconds), ended

    def params_below(self, *prefixes: str) -> dict[str, str]:
        """Return the settings that a stage depends on, as dvc.yaml says."""
        sections = (*prefixes, "model.name", "model.dtype", "model.device", "model.threads", "seed")
        return {
            key: value
            for key, value in self.params.items()
            if any(key == section or key.startswith(f"{section}.") for section in sections)
        }

    def table(self, predictions: Iterable[Prediction]) -> list[dict[str, Any]]:
        """Return a row for each prediction, with the input that it answers, what people compare first."""
        inputs = {row.id: "\n".join(row.inputs.values()) for rows in self.examples.values() for row in rows}
        first = ("id", "split", "input", "target", "answer", "score", "valid", "output")
        rows = (dataclasses.asdict(prediction) | {"input": inputs.get(prediction.id)} for prediction in predictions)
        return [{key: row[key] for key in (*first, *(key for key in row if key not in first))} for row in rows]

    def datasets(self, *splits: str) -> list[DatasetView]:
        digest = dvc_hash(self.root / "dvc.lock", "prepare") or self.verdict.provenance.data_hash
        columns = ["id", *self.config.task.inputs, "target"]
        return [
            DatasetView(
                split=split,
                name=f"{self.verdict.task}/{split}",
                digest=digest[:36],
                path=f"artifacts/prepare/{split}.jsonl",
                rows=len(self.examples[split]),
                columns=columns,
            )
            for split in splits
        ]


def experiment_name(config: Config) -> str:
    """Return the experiment that shows a task's runs."""
    return config.tracking.experiment or f"whether/{config.task.name}"


def history(rows: list[dict[str, Any]], started: datetime) -> Iterator[MetricPoint]:
    """Yield the points of history.jsonl: the numbers of each row as `finetune/<key>` at its `step`.

    A row's `seconds` are what it took; they add up to its time.
    """
    time = started
    for row in rows:
        time += timedelta(seconds=row.get("seconds") or 0)
        for key, value in numbers(row).items():
            if key not in ("step", "epoch", "seconds"):
                yield MetricPoint(f"finetune/{key}", value, int(row["step"]), time)


def shown_files(folder: Path) -> list[Path]:
    """Return a stage's records that a browser can show."""
    return sorted(file for file in folder.glob("*") if file.is_file() and file.suffix in SHOWN_FILES)


def dvc_hash(lock: Path, stage: str) -> str | None:
    """Return DVC's hash of a stage's first output, or None where the stage was not run by DVC."""
    if not lock.exists():
        return None
    stages = (yaml.safe_load(lock.read_text("utf-8")) or {}).get("stages", {})
    outs = stages.get(stage, {}).get("outs", [])
    return str(outs[0]["md5"]) if outs and "md5" in outs[0] else None
