"""Model, benchmark, prices and policy, and `Config`, which holds every section."""

import re
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field
from pydantic.dataclasses import dataclass

from whether.config.arms import BaselineConfig, CheckpointConfig, PromptConfig, TunerConfig
from whether.config.metric import MetricConfig
from whether.config.optimise import OptimiseConfig
from whether.config.retrain import RetrainConfig
from whether.config.search import SearchConfig
from whether.config.task import DataConfig, TaskConfig
from whether.config.types import (
    BASE,
    STRICT,
    Component,
    Count,
    Finite,
    Fraction,
    NotNegative,
    Positive,
    Seed,
    Truncation,
)

NOT_IN_VLLM = {
    "whether.finetune.adapters.linear_probe": "a linear probe",
    "whether.finetune.adapters.prompt_tuning": "virtual tokens",
    "whether.finetune.adapters.prefix_tuning": "virtual tokens",
}
"""`_target_` of an adapter that does not run in vLLM → what it is. What a checkpoint holds is checked again when it is
loaded (`whether.engine.vllm.check_checkpoint`); this says so before anything is tuned."""


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """A base model: where it comes from and how it is run."""

    name: str
    """Name in records, reports and MLflow."""
    source: Component
    """`_target_` in whether.sources: packaged file, hub id with revision, or local folder."""
    licence: str
    """SPDX identifier or name of the licence of the weights."""
    backend: Literal["engine", "vllm", "auto"] = "engine"
    """What runs the weights where an arm answers: `engine`, this project's own, `vllm`, or `auto`: the faster of the
    two for the run's requests, measured where vLLM is installed (docs/engine.md)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the weights when the model runs. `auto`: bfloat16 where the device multiplies it natively, else
    float32 (docs/engine.md)."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: CUDA, then MPS, then CPU, whichever is there first."""
    threads: Count | None = None
    """CPU threads; None: one for each core that the process may use."""
    memory: Annotated[ByteSize, Field(ge=2**20)] | None = None
    """What keys, values and activations may take, such as 3 GiB; None: half of what is free, at most 4 GiB."""

    def __post_init__(self) -> None:
        if "_target_" not in self.source:
            raise ValueError("source needs _target_, the dotted path of a model source")


@dataclass(frozen=True, config=STRICT)
class CurveConfig:
    """Quality against number of labels, tuned and prompted. `tuner`, `prompts` and `baselines` are interpolations of
    the sections that say it, so that DVC watches those settings and no others; null: the run does not select it."""

    labels: list[Count]
    """Numbers of labelled training examples; one above the training split is not measured. Empty: no curve."""
    seeds: list[Seed]
    """Each draws its own nested subsets and starts training from scratch."""
    checkpoint: str | None = None
    """The tuned checkpoint whose curve is measured."""
    tuner: TunerConfig | None = None
    """Its settings."""
    prompts: dict[str, PromptConfig | None] = field(default_factory=dict)
    """Prompts that use labels, run on base; the best on dev is compared."""
    baselines: dict[str, BaselineConfig | None] = field(default_factory=dict)
    """Baselines fitted on the same labels."""
    min_steps: Count = 16
    """Optimizer steps at least: where the tuner's epochs are fewer, each shows the examples several times."""
    dev: Annotated[int, Field(ge=2)] | None = None
    """Examples of dev, at most, that choose the best step and the best prompt at each point; None: all."""
    test: Annotated[int, Field(ge=2)] | None = None
    """Examples of test, at most, that each point answers; None: all."""

    def __post_init__(self) -> None:
        for name, values in (("labels", self.labels), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds a number twice: {values}")
        if bool(self.labels) != bool(self.seeds):
            raise ValueError("labels and seeds go together: give at least one of each, or none of both (curve=none)")
        if self.tuner and self.tuner.prompt:
            raise ValueError("checkpoint must be one that is tuned without a prompt: the curve asks it without one")
        if self.labels and self.checkpoint in (None, BASE):
            raise ValueError("checkpoint must name the tuned checkpoint whose curve is measured, such as lora")


@dataclass(frozen=True, config=STRICT)
class ServingConfig:
    """How latency is measured: requests sent one at a time."""

    requests: Annotated[int, Field(ge=2)] = 12
    """Timed requests an arm, from dev."""
    warmup: Annotated[int, Field(ge=0)] = 2
    """Requests before those, not timed."""


@dataclass(frozen=True, config=STRICT)
class RobustnessConfig:
    """How much arms depend on their prompt's format and on chance, measured on a fixed part of dev."""

    examples: Annotated[int, Field(ge=0)] = 20
    """Examples of dev, at most, the same for every arm; 0: nothing is measured."""
    formats: list[str] | None = None
    """Formats to try, by name (docs/robustness.md); None: all that change something."""
    samples: Annotated[int, Field(ge=2, le=100)] | None = 5
    """Sampled answers to each example; None: consistency is not measured."""
    temperature: Positive = 0.7
    """Of the samples."""


@dataclass(frozen=True, config=STRICT)
class BenchmarkConfig:
    """lm-eval suites run on every checkpoint: did tuning cost general ability?"""

    name: str
    tasks: Annotated[list[str], Field(min_length=1)]
    """lm-eval task names; their mean accuracy is `retention`."""
    include_path: str | None = None
    """Folder with lm-eval task YAMLs, or the dotted name of a package with them; None: those that come with lm-eval."""
    limit: Count | None = None
    """First so many documents of each task; None: all."""
    num_fewshot: Annotated[int, Field(ge=0)] = 0
    truncation: Truncation = "left"
    """Of requests longer than the context window: `left` is lm-eval's way, and its extent is in the records."""
    data: str = "data"
    """File or folder in the repository that the tasks and `text` read, so that DVC watches it."""
    text: str | None = None
    """JSONL of general text (`input`) for perplexity; None: not measured."""
    text_tokens: Count = 8192
    """Tokens of that text to score, at most."""
    other: TaskConfig | None = None
    """Another label task, that no checkpoint is tuned for: is a tuned model a specialist? None: not measured."""
    other_examples: Count = 60
    """Of its rows, at most."""
    speed_requests: Count = 6
    """Requests of 256 random tokens sent one at a time, for latency."""
    speed_batch: Count = 8
    """Such requests answered together, for throughput."""


@dataclass(frozen=True, config=STRICT)
class PricingConfig:
    """A dated, named price list. Costs are measured quantities times these."""

    name: str
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    """Day on which the prices were read."""
    source: str
    """Where they were read."""
    machine: str
    """What `usd_per_machine_hour` buys."""
    usd_per_machine_hour: NotNegative
    usd_per_label: NotNegative
    """Price of one labelled example."""
    usd_per_kwh: NotNegative | None = None
    """Price of electricity, where it is paid in addition to the machine; None: the machine's price holds it."""
    usd_per_person_hour: NotNegative | None = None
    """Price of people's time; None: it is not counted."""
    person_hours: dict[str, NotNegative] = field(default_factory=dict)
    """Checkpoint, prompt or baseline → hours of people to build it; one that is not named takes none."""


@dataclass(frozen=True, config=STRICT)
class ConstraintConfig:
    """A hard limit on a metric, in its unit: an arm that breaks it, or for which it was not measured, is out."""

    min: Finite | None = None
    """At least, for a metric of which more is better; None: no limit."""
    max: Finite | None = None
    """At most, for a metric of which less is better; None: no limit."""

    @property
    def limits(self) -> bool:
        """Return whether a limit is set."""
        return self.min is not None or self.max is not None


@dataclass(frozen=True, config=STRICT)
class PolicyConfig:
    """What counts as better, as not worse, and as good enough."""

    metric: str | None = None
    """Primary metric, one of those that `metric` selects; None: the task's."""
    margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.03
    """Non-inferiority margin: a loss of quality smaller than this is worth a lower price."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Family-wise error rate; intervals have level 1 - alpha."""
    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples for intervals."""
    monthly_requests: Count = 100_000
    """Volume at which "cheapest" is judged."""
    months: Count = 12
    """Months over which the cost to build is spread."""
    retrain_months: Count | None = None
    """Months from one retraining (of a prompt: search) to the next, whose machine time then costs; None: never."""
    cost_margin: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """An arm counts as cheaper than another only by more than this share of its cost: measured times are noisy."""
    constraints: dict[str, ConstraintConfig | None] = field(default_factory=dict)
    """Metric of the catalogue (`whether.metrics.catalogue`) → its hard limit; quality and valid outputs are dev's."""
    max_failed: Fraction = 0.02
    """Share of an arm's rows that may fail to be answered, and of a training set's to be trained on, before the run
    ends (up to three may in any case, if they are at most a quarter); 0: none. Those of an arm count as wrong."""
    training_runs: Count = 1
    """Training runs that a compared tuned arm must have; with fewer the answer is `inconclusive`."""
    racing: Literal["served", "none"] = "served"
    """Whether an arm of a served model that dev shows to be worse than another one is spared test, which costs money.
    With a hard constraint all are asked, since the best one may break it."""


@dataclass(frozen=True, config=STRICT)
class TrackingConfig:
    """Where MLflow shows the records."""

    uri: str = "sqlite:///mlflow.db"
    """Tracking server (`http://…`) or the embedded database. User and password come from the environment."""
    experiment: str | None = None
    """MLflow experiment; None: `whether/<task>`."""
    enabled: bool = True
    """False: nothing is sent to MLflow; the files are there all the same."""
    models: Literal["tuned", "recommended", "none"] = "tuned"
    """Arms that become versions of the registered model `whether-<task>`: the recommended one and of each tuned
    checkpoint the best on dev; the recommended one alone; none."""


@dataclass(frozen=True, config=STRICT)
class Arms:
    """The arms: every checkpoint with every prompt, and every baseline."""

    checkpoint: list[str]
    prompt: list[str]
    baseline: list[str] = field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class Config:
    """Everything, as params.yaml holds it. The keys are the project's vocabulary."""

    seed: Seed
    """Of every random choice."""
    task: TaskConfig
    data: DataConfig
    model: ModelConfig
    tuner: dict[str, Any]
    """What tuned checkpoints share by interpolation; checked where it arrives, in `checkpoints`."""
    checkpoints: dict[str, CheckpointConfig]
    prompts: dict[str, PromptConfig]
    arms: Arms
    metrics: dict[str, MetricConfig]
    """Metrics of answers, by name; one is primary, and the others are reported."""
    serving: ServingConfig
    robustness: RobustnessConfig
    benchmark: BenchmarkConfig
    curve: CurveConfig
    pricing: PricingConfig
    policy: PolicyConfig
    tracking: TrackingConfig
    search: SearchConfig
    optimise: OptimiseConfig
    retrain: RetrainConfig
    baselines: dict[str, BaselineConfig] = field(default_factory=dict)
    """Small models that answer without a language model."""
    training_runs: Count = 1
    """How often each tuned checkpoint is trained, each time from another seed, so that intervals hold what another
    training run would change. `compose` adds the further runs to `checkpoints`."""

    def __post_init__(self) -> None:
        if self.training_runs == 2:
            raise ValueError("training_runs: two runs tell too little about a third one: expected 1, or 3 and more")
        sections = (("checkpoints", self.checkpoints), ("prompts", self.prompts), ("baselines", self.baselines))
        for section, names in sections:
            for name in names:
                if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                    raise ValueError(f"{section}: {name!r} must be lower-case letters, digits and _ (it names files)")
        if self.checkpoints.get(BASE) != CheckpointConfig():
            raise ValueError(f"checkpoints must hold {BASE!r}, without a tuner: every tuned one is compared with it")
        for name, checkpoint in self.checkpoints.items():
            if name != BASE and (checkpoint.tuner is None) == (checkpoint.served is None):
                raise ValueError(f"checkpoints.{name} needs either a tuner or served: only {BASE!r} goes without")
            if checkpoint.served and checkpoint.served.price is None:
                raise ValueError(
                    f"checkpoints.{name}.served needs a price: what the provider asks for tokens, or your own server's"
                    " cost; without it nothing could be compared"
                )
            if checkpoint.repeat_of and getattr(self.checkpoints.get(checkpoint.repeat_of), "tuner", None) is None:
                raise ValueError(
                    f"checkpoints.{name}.repeat_of: {checkpoint.repeat_of!r} is not a tuned checkpoint here"
                )
        if Arms(list(self.checkpoints), list(self.prompts), list(self.baselines)) != self.arms:
            raise ValueError(
                "arms follows from checkpoints, prompts and baselines: select those, as in prompt=[zero_shot,knn]"
            )
        for name in self.baselines.keys() & self.checkpoints.keys():
            raise ValueError(f"baselines.{name}: a checkpoint has this name, too: call one of them otherwise")
        if not self.prompts:
            raise ValueError("prompts: select at least one, for example prompt=[zero_shot]")
        self._check_backend()

    def _check_backend(self) -> None:
        if self.model.backend == "vllm" and self.not_in_vllm:
            raise ValueError(f"{self.not_in_vllm}: leave it out, or set model.backend to engine")

    @property
    def not_in_vllm(self) -> str | None:
        """The first checkpoint that vLLM cannot run, as a sentence; None where it runs all."""
        for name, checkpoint in self.checkpoints.items():
            found = checkpoint.tuner and NOT_IN_VLLM.get(checkpoint.tuner.adapter.get("_target_", ""))
            if found:
                return f"checkpoints.{name} is {found}, and vLLM runs changed weights only"
        return None

    @property
    def quality_metrics(self) -> tuple[str, ...]:
        """The selected metrics that the task's kind of output has."""
        output, named = self.task.output, self.task.kind_metrics
        return tuple(name for name, metric in self.metrics.items() if metric.goes_with(output) or name in named)

    @property
    def primary_metric(self) -> str:
        """The metric that decides: the policy's, else the task's, else the first one."""
        return self.policy.metric or self.task.metric or self.quality_metrics[0]

    @cached_property
    def arm_names(self) -> list[str]:
        """`<checkpoint>-<prompt>` of every arm in which a language model answers, in the order of config."""
        return [f"{checkpoint}-{prompt}" for checkpoint in self.checkpoints for prompt in self.prompts]

    @property
    def racing_checkpoints(self) -> list[str]:
        """The served checkpoints whose arms race on dev; none where the policy or a hard constraint rules it out."""
        served = [name for name, checkpoint in self.checkpoints.items() if checkpoint.served]
        limited = any(limit and limit.limits for limit in self.policy.constraints.values())
        at_stake = len(served) * len(self.prompts) > 1
        return served if self.policy.racing == "served" and at_stake and not limited else []

    @property
    def baseline_names(self) -> list[str]:
        """Every baseline that can answer the task; each is an arm of its own name."""
        return [name for name, baseline in self.baselines.items() if baseline.goes_with(self.task.output)]
