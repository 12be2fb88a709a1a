"""What a checkpoint is and what making it took: artifacts/finetune/<checkpoint>."""

from dataclasses import dataclass
from typing import Any, Literal

CHECKPOINT = "checkpoint"
"""Folder in artifacts/finetune/<checkpoint>/ that holds what answers: checkpoint.json and weights."""

CheckpointKind = Literal["base", "adapter", "weights", "head", "served"]
"""Kinds of checkpoint."""


@dataclass(frozen=True)
class TrainingAttempt:
    """One of two trainings of a checkpoint, and which labels it gives to dev at its best step."""

    learning_rate: float
    balanced: bool | Literal["auto"]
    steps: int
    """Optimizer steps that were made."""
    best_step: int
    answer: str
    """The label that is given most often, decoded greedily from the answers of all labels."""
    share: float
    """Of the dev examples that it is given to, in [0, 1]."""
    class_f1: float
    """Mean of the F1 of the labels on dev, in [0, 1]."""
    collapsed: bool
    """Whether it is given to nearly everything (`whether.records.collapse`)."""


@dataclass(frozen=True)
class CollapseRetry:
    """A training that collapsed, and the one that was tried in its place: balanced, at a third of the learning rate."""

    first: TrainingAttempt
    retry: TrainingAttempt
    kept: Literal["first", "retry"]
    """Whose weights the checkpoint has, and whose steps history.jsonl and checkpoint.json."""


@dataclass(frozen=True)
class CheckpointRecord:
    """What a checkpoint is: checkpoint.json."""

    kind: CheckpointKind
    """What is put on the base model: `base`: nothing; `adapter`: peft's, in adapter/; `weights`: those of
    weights.safetensors in place of its own; `head`: a linear classifier of `labels` in place of its output head;
    `served`: another model answers, and nothing of it is here."""
    name: str
    model: str
    """Name of the base model, or of the served one."""
    seed: int
    disk: int
    """Bytes that are stored in addition to the base model."""
    trainable_parameters: int
    tuner: dict[str, Any] | None = None
    """The settings as they were asked for; None where nothing was tuned. `retry` says what was trained with others."""
    base_url: str | None = None
    """Address of a served model's API."""
    served: dict[str, Any] | None = None
    """Settings of a served model that its answers depend on."""
    dtype: str | None = None
    """Precision of the base model in training."""
    shared_prefix: bool | None = None
    """Whether tokens that all examples share were computed once; False where the model cannot."""
    steps: int | None = None
    """Optimizer steps that were made."""
    best_step: int | None = None
    """The step whose weights are kept: the best on dev."""
    stopped_early: bool | None = None
    labels: list[str] | None = None
    """What the rows of a head stand for."""
    micro_batch_size: int | None = None
    """Examples that went through the model at once, at most, where memory was least: halved whenever it ran out."""
    retry: CollapseRetry | None = None
    """What a second training gave, where the first had collapsed; None: the first had not, or `tuner.retry_collapsed`
    is false."""


@dataclass(frozen=True)
class CheckpointMetrics:
    """What a checkpoint took and how well it does on dev: metrics.json.

    Costs are those of the steps that led to the result: steps that a killed run had to repeat count once. Where a
    collapsed training was tried again, they are those of both trainings, and what is said of dev is of the kept one.
    """

    labels_used: int = 0
    """Rows trained on."""
    dev_labels_used: int = 0
    """Rows that chose the best step."""
    steps: int = 0
    examples: int = 0
    """Trained on, repetitions included."""
    trained_tokens: int | None = None
    """Of prompts and answers, as they are counted in requests, repetitions included."""
    computed_tokens: int | None = None
    """Positions that were computed for them: the shared prefix counts once a batch."""
    train_seconds: float = 0.0
    """Wall time of the optimizer steps."""
    train_seconds_with_evaluation: float = 0.0
    """The same and that of the evaluations on dev, with what looking for a collapse took."""
    flops: float | None = None
    """Floating-point operations of the optimizer steps, as whether.model.metering counts them; 0 for base."""
    energy: float | None = None
    """Joules of the optimizer steps and the evaluations on dev; None where the machine does not report them."""
    tokens_per_second: float | None = None
    """`trained_tokens` over `train_seconds`."""
    examples_per_second: float | None = None
    peak_memory: int | None = None
    """Bytes of resident memory of the process."""
    peak_device_memory: int | None = None
    """Bytes allocated on the accelerator; None without one."""
    dev_loss: float | None = None
    """Of the kept weights: mean over the answer tokens of dev."""
    dev_token_accuracy: float | None = None
    dev_exact: float | None = None
    """Share of dev examples answered exactly by greedy decoding."""


@dataclass(frozen=True)
class Step:
    """One optimizer step: a line of history.jsonl."""

    step: int
    epoch: float
    loss: float
    """Mean over the batch's answer tokens, before the step."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    tokens: int
    """Of the batch's prompts and answers, as they are counted in requests."""
    computed_tokens: int
    """Positions that were computed: the shared prefix counts once, padding counts."""
    seconds: float
    """Wall time of the step."""
    micro_batch_size: int
    """Examples that went through the model at once, at most, where memory was least: halved whenever it ran out."""
    flops: float
    """Floating-point operations: counted in the first step, from there by computed tokens."""
    energy: float | None
    """Joules; None where the machine does not report them."""


@dataclass(frozen=True)
class Evaluation:
    """The model on dev after a step: a line of history.jsonl."""

    step: int
    epoch: float
    dev_loss: float
    """Mean over all answer tokens of dev."""
    dev_token_accuracy: float
    """Share of answer tokens that are the most likely one, given the right answer so far."""
    dev_exact: float
    """Share of examples of which all answer tokens are: exactly those that greedy decoding answers right."""
    seconds: float
    energy: float | None
    """Joules; None where the machine does not report them."""
    peak_memory: int
    """Bytes of resident memory, at most so far in this process."""
    peak_device_memory: int | None
    """Bytes allocated on the accelerator, at most so far; None on CPU."""
