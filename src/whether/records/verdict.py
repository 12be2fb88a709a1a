"""The verdict and its parts: the keys of artifacts/compare/verdict.json."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from whether.records.curve import LearningCurve
from whether.records.measurement import Measurement, MetricInfo
from whether.records.precision import Dtype
from whether.records.race import RacedArm

RENAMED_METRICS = {"repeatability": "batch_invariance"}
"""Metric in verdicts of an earlier version → its name now: they are read under the new one."""


def _rename_metrics(metrics: Any) -> Any:
    """Return a mapping by metric, or a list of metrics, under the names of today."""
    if isinstance(metrics, dict):
        return {RENAMED_METRICS.get(name, name): value for name, value in metrics.items()}
    return [RENAMED_METRICS.get(name, name) for name in metrics] if isinstance(metrics, list) else metrics


Approach = Literal["prompt", "fine_tune", "both", "neither"]
"""What choosing an arm would mean; `neither`: a baseline, a small model that answers without a language model."""
Answer = Literal["prompt", "fine_tune", "both", "neither", "no_difference", "inconclusive"]


@dataclass(frozen=True)
class ArmRecord:
    """One arm in verdict.json."""

    checkpoint: str
    """A baseline's own name where it is one."""
    prompt: str
    """Empty for a baseline, which has none."""
    answer: Approach
    """The answer that choosing this arm would mean."""
    metrics: Annotated[dict[str, Measurement], BeforeValidator(_rename_metrics)]
    """On test, and measured cost; what does not apply to the task is left out."""
    dev: dict[str, float] = field(default_factory=dict)
    """Quality on dev, by which the arms that test compares were chosen."""
    by_run: list[float] = field(default_factory=list)
    """The primary metric on test of each training run of the checkpoint, the one that is kept first; their mean is in
    `metrics`. Empty where there was one run, or none."""
    failed: int = 0
    """Rows of dev and test that were not answered and count as wrong; artifacts/score/<arm>/failed.jsonl names them."""
    leniencies: dict[str, float] = field(default_factory=dict)
    """Leniency (`LENIENCIES`) → share of the outputs on test whose answer could not be read without it."""


@dataclass(frozen=True)
class Comparison:
    """A paired difference between two arms on the same test examples: `difference` = arm_a minus arm_b."""

    arm_a: str
    arm_b: str
    metric: str
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    p_adjusted: float
    """Corrected for the comparisons of the same family: of `decision` by the joint distribution of its differences,
    and the interval excludes zero exactly where this is below the policy's alpha; of `exploratory` by Holm's method,
    whose intervals are each by itself."""
    n: int
    """Paired examples."""
    conclusion: str
    """`a_better`, `b_better`, `equivalent`, `a_not_worse`, `b_not_worse` or `inconclusive`."""
    family: Literal["decision", "exploratory"]
    """`decision`: planned, between the arms that dev chose; `exploratory`: every other pair, corrected by itself."""
    method: str = ""
    """How interval and p-value were computed; empty in verdicts of an earlier version."""
    power: float | None = None
    """Chance of showing a true difference of 5 points with so many examples; None for exploratory pairs."""


@dataclass(frozen=True)
class Interaction:
    """Does tuning with an engineered prompt add more than its parts? On the mean score of the same test examples."""

    checkpoint: str
    """A tuned one."""
    prompt: str
    """An engineered one."""
    difference: float
    """(tuned engineered - tuned plain) - (base engineered - base plain): above 0 the two help each other."""
    ci_low: float
    ci_high: float
    p_value: float
    """Two-sided, of no interaction."""
    p_adjusted: float
    """After Holm's correction over all interactions."""
    n: int
    """Examples."""
    reason: str
    """One sentence."""


@dataclass(frozen=True)
class CostDriver:
    """What halving or doubling one of the quantities behind a price does to which of two arms is the cheaper one."""

    name: str
    usd_half: float
    """Tuned minus prompt, USD a month, with half the quantity."""
    usd_double: float
    """The same with twice the quantity."""


@dataclass(frozen=True)
class BreakEven:
    """At which volume a tuned arm costs as much a month as a prompt arm, building spread over the policy's months."""

    arm: str
    """A tuned arm."""
    against: str
    """A prompt arm."""
    outcome: Literal["always", "above", "below", "never"]
    """Where the tuned arm is the cheaper one: at any volume, above or below `requests_per_month`, or at none."""
    requests_per_month: float | None
    """None where the lines of cost do not cross."""
    reason: str
    """One sentence."""
    usd_per_month: float | None = None
    """The tuned arm's monthly cost minus the prompt arm's, at the policy's volume."""
    drivers: list[CostDriver] = field(default_factory=list)
    """What moves it, the strongest first."""
    ci_low: float | None = None
    """Interval of `requests_per_month`, from that of running costs over test requests; the lowest volume at which the
    lines may cross, None if they cross at none."""
    ci_high: float | None = None
    """None: without end, as they may not cross at all."""


@dataclass(frozen=True)
class TrainingCost:
    """What making a checkpoint took, and its price by the price list. None: not measured, or not on the list."""

    labels: int
    """Labelled examples trained on."""
    seconds: float
    """Wall time of training, that of choosing the best step on dev included."""
    tokens: int | None = None
    """Of prompts and answers trained on, repetitions included."""
    computed_tokens: int | None = None
    """Positions that were computed for them: a prefix that a batch shares counts once."""
    flops: float | None = None
    """Floating-point operations of the optimizer steps."""
    energy: float | None = None
    """Joules of training and of choosing the best step."""
    peak_memory: int | None = None
    """Bytes of resident memory of the process."""
    peak_device_memory: int | None = None
    """Bytes allocated on the accelerator."""
    usd_labels: float | None = None
    usd_machine: float | None = None
    usd_energy: float | None = None
    """None where the machine's price holds it, or where energy was not measured."""
    usd: float | None = None
    """The sum of those that are known."""


@dataclass(frozen=True)
class Aspect:
    """A question that people ask when they choose, and what answers it for each arm."""

    question: str
    metrics: Annotated[list[str], BeforeValidator(_rename_metrics)]
    """Keys of an arm's `metrics`; a value that is null there was not measured."""
    how_to_measure: Annotated[str, Field(validation_alias=AliasChoices("how_to_measure", "otherwise"))] = ""
    """The command that measures those that are not; `otherwise` in verdicts of an earlier version."""


@dataclass(frozen=True)
class Provenance:
    """What a result was made from."""

    commit: str | None
    """Git commit, or None outside a repository."""
    dirty: bool | None
    """Whether code, conf/ or params.yaml differed from that commit (dvc.lock, which a run writes, does not count)."""
    data_hash: str
    model_hash: str
    versions: dict[str, str]
    created_at: str
    """UTC, ISO 8601."""
    settings: dict[str, str] = field(default_factory=dict)
    """Part of params.yaml, such as `prompts.knn` → the SHA-256 of its settings."""
    backend: str = "engine"
    """What ran the weights: this project's engine, or vllm."""
    dtype: Dtype | None = None
    """Precision of the weights, in training and in answers; None: served models only, or a verdict of an earlier
    version."""


@dataclass(frozen=True)
class TaskRetention:
    """What a tuned checkpoint scores on a task of the retention suite."""

    tuned: float
    """Mean score of the checkpoint, a fraction."""
    base: float | None
    """Of base; None where it was not measured."""
    n: int
    """Documents."""
    difference: float | None = None
    """Tuned minus base on the documents that both answered; None where there are none."""
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True)
class ArmOutput:
    """What an arm answered to a test example."""

    output: str
    """The text as the model wrote it."""
    answer: str | None
    """What was understood; None where no answer was found."""
    score: float
    valid: bool = True
    error: str | None = None
    """Why the arm did not answer; None where it did."""


@dataclass(frozen=True)
class OutputRow:
    """A line of artifacts/compare/outputs.jsonl: a test example and each arm's answer to it."""

    id: str
    inputs: dict[str, str]
    target: str
    arms: dict[str, ArmOutput]
    group: str | None = None


SCHEMA_VERSION = 2
"""Of verdict.json as it is written now."""


@dataclass(frozen=True)
class Verdict:
    """artifacts/compare/verdict.json, the product's contract: keys may be added, none of these is renamed."""

    answer: Answer
    recommended_arm: str | None
    reasons: list[str]
    """Sentences, the most important first."""
    task: str
    model: str
    arms: dict[str, ArmRecord]
    comparisons: list[Comparison]
    provenance: Provenance
    title: str = ""
    """What people read in place of the task's name; empty: the name."""
    further_labels: int | None = None
    """When inconclusive: about how many more labelled test examples would settle it."""
    metric: str = ""
    """The primary metric: what `comparisons` compare; a key of `metrics`."""
    baseline: float | None = None
    """The primary metric of always giving the most frequent answer: what an arm must beat to have learnt the task."""
    representatives: dict[str, str] = field(default_factory=dict)
    """prompt, fine_tune, both, neither → the arm of that kind that dev chose."""
    status: dict[str, Literal["acceptable", "rejected", "undecided"]] = field(default_factory=dict)
    """Of each representative on test: shown not to be worse by the margin, shown to be worse, or neither."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Arm → the hard constraint that it breaks, as a sentence."""
    raced: dict[str, RacedArm] = field(default_factory=dict)
    """Arm of a served model that was not asked for test → why; it is not in `arms`."""
    break_even: list[BreakEven] = field(default_factory=list)
    interactions: list[Interaction] = field(default_factory=list)
    """Of each tuned checkpoint with each engineered prompt, where base has both prompts and no arm fails by form."""
    unreported_interactions: list[str] = field(default_factory=list)
    """A sentence for each that is left out, with the arms whose answers fail by their form."""
    training: dict[str, TrainingCost] = field(default_factory=dict)
    """Tuned checkpoint → what making it took."""
    policy: dict[str, Any] = field(default_factory=dict)
    pricing: dict[str, Any] = field(default_factory=dict)
    learning_curve: LearningCurve | None = None
    """Quality against number of labels; None where it was not measured."""
    aspects: list[Aspect] = field(default_factory=list)
    """Every question, with the metrics that answer it."""
    retention: dict[str, dict[str, TaskRetention]] = field(default_factory=dict)
    """Tuned checkpoint → task of the retention suite → what it scores there, and what tuning changed."""
    metrics: dict[str, MetricInfo] = field(default_factory=dict)
    """Metric of the answers → how it reads; empty in verdicts of an earlier version."""
    schema_version: int = 1
    """Of these keys: 1 until 0.1, which had no such key; a newer one than this version of whether knows is refused."""

    def __post_init__(self) -> None:
        if self.schema_version > SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {self.schema_version}, and this version of whether reads up to {SCHEMA_VERSION}:"
                " install the version that wrote it, or a newer one"
            )

    def ranking(self) -> list[str]:
        """Return the arms, best primary metric on test first (ties: cheaper to run)."""

        def key(name: str) -> tuple[float, float]:
            metrics = self.arms[name].metrics
            return -(metrics[self.metric].value or 0.0), metrics["usd_per_1k"].value or 0.0

        return sorted(self.arms, key=key)


APPROACH_NAMES = {"prompt": "prompt", "fine_tune": "fine-tune", "both": "both", "neither": "neither"}
"""Answer → how it reads."""


HEADLINES = {
    "prompt": "Engineer the prompt",
    "fine_tune": "Fine-tune the model",
    "both": "Do both: fine-tune and engineer the prompt",
    "neither": "Neither: no language model is needed",
    "no_difference": "No difference that matters: take the cheapest",
    "inconclusive": "Inconclusive: the data cannot tell yet",
}
