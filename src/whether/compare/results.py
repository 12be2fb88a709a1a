"""What the other stages wrote about the arms of this configuration; a folder of any other arm is left alone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from whether.compare.precision import common_precision
from whether.compare.robustness import measure_robustness
from whether.config import BASE, CheckpointConfig, Config, PromptConfig, TokenPrice
from whether.errors import RecordError
from whether.metrics.metric import Metric, quality_metrics
from whether.outputs.decoding import build_decoding
from whether.outputs.kinds import output_of
from whether.records import (
    CHECKPOINT,
    Adherence,
    BaselineRecord,
    BenchmarkMetrics,
    BenchmarkSample,
    CheckpointMetrics,
    Dtype,
    Example,
    FormatPlan,
    Generations,
    Prediction,
    RacedArm,
    Robustness,
    Task,
    TaskResult,
    fitted_baselines,
    raced_arms,
    read_json,
    read_jsonl,
)

T = TypeVar("T")


@dataclass(frozen=True)
class LatencyMetrics:
    """What of artifacts/score/<arm>/metrics.json was measured with requests sent one at a time."""

    latency_p50: float | None = None
    latency_p95: float | None = None
    peak_memory: float | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Weights that answer, and what was measured about them."""

    name: str
    training: CheckpointMetrics
    benchmark: BenchmarkMetrics
    results: dict[str, TaskResult]
    samples: list[BenchmarkSample]

    price: TokenPrice | None = None
    """Of a served model; None: machine time is what its answers cost."""
    baseline: bool = False
    """Whether it is a small model that answers without a language model."""
    retried: bool = False
    """Whether it was tuned once more because it had collapsed."""

    @property
    def tuned(self) -> bool:
        """Whether training made it from the base model."""
        return self.name != BASE and not self.served and not self.baseline

    @property
    def served(self) -> bool:
        """Whether another model answers, behind an API."""
        return self.price is not None


class SplitPredictions(NamedTuple):
    """What an arm answered, in the order of each split's examples."""

    dev: list[Prediction]
    test: list[Prediction]


@dataclass(frozen=True)
class Arm:
    """A checkpoint with a prompt: its answers in the order of the split's examples, and its own measurements."""

    name: str
    checkpoint: str
    prompt: str
    engineered: bool
    """Whether its prompt is (`PromptConfig.engineered`)."""
    search_seconds: float
    """Machine time of the search that found the prompt (`PromptConfig.search_seconds`)."""
    search_usd: float
    """What a provider asked for its share in that (`PromptConfig.search_usd`)."""
    labels_needed: int | None
    """Labelled training examples that the prompt needs (`PromptConfig.labels_needed`); None: all."""
    dev: list[Prediction]
    test: list[Prediction]
    serving: LatencyMetrics
    adherence: Adherence | None = None
    """None for records of a version that did not write it."""
    robustness: Robustness | None = None
    """None where it was not measured."""
    served: bool = False
    """Whether another model answers, behind an API."""
    baseline: bool = False
    """Whether a small model answers, without a language model and so without a prompt."""
    repeats: tuple[SplitPredictions, ...] = ()
    """Of the further training runs of its checkpoint."""
    unseen: list[Prediction] = field(default_factory=list)
    """To rows whose labels were left out (`task.unseen_labels`)."""

    @property
    def runs(self) -> tuple[SplitPredictions, ...]:
        """What each training run answered; the first is the checkpoint that is kept."""
        return (SplitPredictions(self.dev, self.test), *self.repeats)

    @property
    def tuned(self) -> bool:
        """Whether its checkpoint was trained from the base model."""
        return self.checkpoint != BASE and not self.served and not self.baseline


@dataclass(frozen=True)
class Results:
    """Everything that the verdict is made from."""

    task: Task
    profile: dict[str, Any]
    pool: int
    """Labelled examples for tuning and demonstrations: the training split."""
    examples: list[Example]
    """The test split."""
    checkpoints: dict[str, Checkpoint]
    arms: dict[str, Arm]
    metrics: dict[str, Metric]
    """Metrics of answers that the task has."""
    unseen_groups: dict[str, str | None] = field(default_factory=dict)
    """Row of an unseen label → what it belongs to."""
    dtype: Dtype | None = None
    """Precision in which everything was measured; None where no record names it."""
    raced: dict[str, RacedArm] = field(default_factory=dict)
    """Arm that was not asked for test, since dev shows it to be worse than another one of its kind; not in `arms`."""

    @property
    def groups(self) -> list[str | None]:
        """What each test example belongs to."""
        return [example.group for example in self.examples]


def load_results(config: Config, artifacts: Path, *, arms_alone: bool = False) -> Results:
    """Read the records of every arm of `config`.

    With `arms_alone` what the stages after the arms measure is left out: robustness and benchmarks. Raises RecordError
    for a file that is missing or broken, for an arm that did not answer every example, and for records that were made
    in two precisions.
    """
    prepared = artifacts / "prepare"
    examples = {split: read_jsonl(prepared / f"{split}.jsonl", Example) for split in ("train", "dev", "test")}
    unseen = prepared / "unseen.jsonl"
    task = read_json(prepared / "task.json", Task)
    raced = {
        f"{name}-{prompt}": found
        for name in config.checkpoints
        for prompt, found in raced_arms(artifacts, name).items()
    }
    arms, baselines = _load_arms(config, examples, artifacts, raced), fitted_baselines(config.baseline_names, artifacts)
    if not arms_alone:
        arms = {
            name: replace(arm, robustness=_robustness(arm, config, task, examples["dev"], artifacts))
            for name, arm in arms.items()
        }
    arms |= {name: _load_baseline_arm(name, examples, artifacts) for name in baselines}
    return Results(
        task=task,
        metrics=quality_metrics(config.metrics, task.output, output_of(task).metrics),
        profile=read_json(prepared / "profile.json"),
        pool=len(examples["train"]),
        examples=examples["test"],
        unseen_groups={row.id: row.group for row in read_jsonl(unseen, Example)} if unseen.exists() else {},
        checkpoints={
            name: _load_checkpoint(name, settings, artifacts, arms_alone)
            for name, settings in config.checkpoints.items()
            if settings.repeat_of is None
        }
        | {name: _load_baseline(name, artifacts) for name in baselines},
        arms=arms,
        raced=raced,
        dtype=common_precision(config, artifacts, arms_alone=arms_alone),
    )


def _load_arms(
    config: Config, examples: dict[str, list[Example]], artifacts: Path, raced: Collection[str]
) -> dict[str, Arm]:
    """Return each arm that was asked for test, with its answers; those of further training runs are in the first
    one's arm."""
    return {
        f"{checkpoint}-{prompt}": replace(
            _load_arm(checkpoint, prompt, settings, examples, artifacts),
            served=bool(made.served),
            repeats=tuple(
                _load_answers(_predictions(further, prompt, artifacts), examples)
                for further, repeat in config.checkpoints.items()
                if repeat.repeat_of == checkpoint
            ),
        )
        for checkpoint, made in config.checkpoints.items()
        if made.repeat_of is None
        for prompt, settings in config.prompts.items()
        if f"{checkpoint}-{prompt}" not in raced
    }


def _robustness(arm: Arm, config: Config, task: Task, dev: Sequence[Example], artifacts: Path) -> Robustness | None:
    """Return what artifacts/robustness/<arm> shows; None where robustness is not measured."""
    plan = read_json(artifacts / "prompt" / arm.prompt / "formats.json", FormatPlan)
    if not plan.examples:
        return None
    return measure_robustness(
        plan,
        read_jsonl(artifacts / "robustness" / arm.name / "generations.jsonl", Generations),
        task,
        dev={example.id: example for example in dev},
        predictions={prediction.id: prediction for prediction in arm.dev},
        decoding_of=lambda asked: build_decoding(arm.prompt, config.prompts[arm.prompt], asked, config.seed),
    )


def _load_checkpoint(name: str, settings: CheckpointConfig, artifacts: Path, arms_alone: bool) -> Checkpoint:
    benchmark = artifacts / "benchmark" / name
    made = Checkpoint(
        name=name,
        training=read_json(artifacts / "finetune" / name / "metrics.json", CheckpointMetrics),
        benchmark=BenchmarkMetrics(),
        results={},
        samples=[],
        price=settings.served.price if settings.served else None,
        retried=_was_retried(artifacts / "finetune" / name / CHECKPOINT / "checkpoint.json"),
    )
    if arms_alone:
        return made
    return replace(
        made,
        benchmark=read_json(benchmark / "metrics.json", BenchmarkMetrics),
        results=read_json(benchmark / "results.json", dict[str, TaskResult]),
        samples=read_jsonl(benchmark / "samples.jsonl", BenchmarkSample),
    )


def _was_retried(record: Path) -> bool:
    return record.exists() and read_json(record, dict[str, Any]).get("retry") is not None


def _load_baseline(name: str, artifacts: Path) -> Checkpoint:
    """Return what was measured of a baseline: no suite of a language model's general ability is run on it."""
    fitted = artifacts / "baseline" / "fitted" / name
    record = read_json(fitted / "baseline.json", BaselineRecord)
    training = read_json(fitted / "metrics.json", CheckpointMetrics)
    return Checkpoint(name, training, BenchmarkMetrics(disk=record.disk), {}, [], baseline=True)


def _load_baseline_arm(name: str, examples: dict[str, list[Example]], artifacts: Path) -> Arm:
    """Return a baseline's answers; it needs all labels of the training split, and knows no other labels."""
    file = artifacts / "score" / name / "predictions.jsonl"
    answers = _load_answers(file, examples)
    return Arm(
        name=name,
        checkpoint=name,
        prompt="",
        engineered=False,
        search_seconds=0.0,
        search_usd=0.0,
        labels_needed=None,
        dev=answers.dev,
        test=answers.test,
        serving=read_json(file.with_name("metrics.json"), LatencyMetrics),
        baseline=True,
    )


def _load_arm(
    checkpoint: str, prompt: str, settings: PromptConfig, examples: dict[str, list[Example]], artifacts: Path
) -> Arm:
    file = _predictions(checkpoint, prompt, artifacts)
    predictions = read_jsonl(file, Prediction)
    answers = _answers_of(file, predictions, examples)
    return Arm(
        name=f"{checkpoint}-{prompt}",
        checkpoint=checkpoint,
        prompt=prompt,
        engineered=settings.engineered,
        labels_needed=settings.labels_needed,
        search_seconds=settings.search_seconds,
        search_usd=settings.search_usd,
        dev=answers.dev,
        test=answers.test,
        unseen=[row for row in predictions if row.split == "unseen"],
        serving=read_json(file.with_name("metrics.json"), LatencyMetrics),
        adherence=_if_there(file.with_name("adherence.json"), Adherence),
    )


def _predictions(checkpoint: str, prompt: str, artifacts: Path) -> Path:
    return artifacts / "score" / f"{checkpoint}-{prompt}" / "predictions.jsonl"


def _load_answers(file: Path, examples: dict[str, list[Example]]) -> SplitPredictions:
    return _answers_of(file, read_jsonl(file, Prediction), examples)


def _answers_of(file: Path, predictions: list[Prediction], examples: dict[str, list[Example]]) -> SplitPredictions:
    return SplitPredictions(
        *(_in_order(file, split, predictions, examples[split]) for split in SplitPredictions._fields)
    )


def _if_there(file: Path, kind: type[T]) -> T | None:
    return read_json(file, kind) if file.exists() else None


def _in_order(file: Path, split: str, predictions: list[Prediction], examples: list[Example]) -> list[Prediction]:
    """Return a split's predictions in the order of its examples: comparisons are paired by place."""
    by_id = {prediction.id: prediction for prediction in predictions if prediction.split == split}
    expected = {example.id for example in examples}
    if by_id.keys() != expected:
        absent, strange = sorted(expected - by_id.keys()), sorted(by_id.keys() - expected)
        raise RecordError(
            f"{file}: answers to {split} must be those of artifacts/prepare/{split}.jsonl; {len(absent)} are missing"
            f" ({', '.join(absent[:3]) or 'none'}), {len(strange)} are unknown ({', '.join(strange[:3]) or 'none'}):"
            " run `dvc repro` to make the arm again"
        )
    return [by_id[example.id] for example in examples]
