"""What arms are made of: prompts, and checkpoints, which are tuned or served; and baselines, each an arm by itself."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from whether.config.served import ServedConfig
from whether.config.types import STRICT, Component, Count, Fraction, NotNegative, Positive


@dataclass(frozen=True, config=STRICT)
class PromptConfig:
    """A strategy that turns one example (and the labelled pool) into chat messages."""

    strategy: Component
    """`_target_` in whether.prompt.strategies and its arguments."""
    decoding: Component = field(default_factory=lambda: {"_target_": "whether.outputs.decoding.greedy"})
    """`_target_` in whether.outputs.decoding and its arguments."""
    engineered: bool = True
    """False for a prompt of the task's instruction and the input, nothing else. A tuned checkpoint with such a prompt
    is `fine_tune`, with an engineered one `both`. How answers are decoded, such as constrained to the labels, is not
    prompt engineering."""
    labels_needed: Annotated[int, Field(ge=0)] | None = None
    """Labelled training examples that this prompt needs, which costs; None: the whole training split."""
    search_seconds: NotNegative = 0.0
    """Machine time of the search that found this prompt, which costs."""
    search_usd: NotNegative = 0.0
    """What a provider asked for its share in that search."""


@dataclass(frozen=True, config=STRICT)
class WarmStartConfig:
    """Trained weights that training continues from, instead of new ones."""

    adapter: str
    """Folder of an adapter that has the same settings."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of its weights, so that what they are decides whether a checkpoint is made again."""


@dataclass(frozen=True, config=STRICT)
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
    """Longest training sequence in tokens; a longer one is left out and recorded, or an error (`policy.max_failed`)."""
    micro_batch_size: Count | None = None
    """Examples that go through the model at once, at most; None: the whole batch. It bounds memory, not the result."""
    balanced: bool | Literal["auto"] = "auto"
    """Whether every label is drawn equally often, the length of an epoch staying, and the best step chosen by macro-F1
    on dev. `auto`: where labels are imbalanced (`whether.records.classes.are_imbalanced`)."""
    retry_collapsed: bool = True
    """Whether a training whose best step gives one label to nearly all of dev is tried once more, with `balanced` and a
    third of the learning rate, and the better of the two kept. Both cost. Tasks with labels only."""
    prompt: PromptConfig | None = None
    """Tune with this prompt's messages; None: with the task's instruction and the input alone."""
    warm_start: WarmStartConfig | None = None
    """Continue from this adapter; None: start from new weights."""


@dataclass(frozen=True, config=STRICT)
class CheckpointConfig:
    """What answers: `base` (with neither of these), a model tuned from it, or a served one."""

    tuner: TunerConfig | None = None
    """How it is tuned from the base model."""
    served: ServedConfig | None = None
    """Another model, behind an HTTP API, which answers next to those of this machine."""
    repeat_of: str | None = None
    """The tuned checkpoint of which this is a further training run; None: it is itself compared."""
    run: Count = 1
    """Number of the training run; its seed is the config's + run - 1."""


@dataclass(frozen=True, config=STRICT)
class BaselineConfig:
    """A small model that answers without a language model: what people would otherwise pick."""

    model: Component
    """`_target_`, a class like those of whether.baseline, and its settings."""
    outputs: Annotated[list[str], Field(min_length=1)]
    """Kinds of output that it can answer, by name; for a task of another kind it is left out."""

    def goes_with(self, output: str) -> bool:
        """Return whether it can answer a kind of output."""
        return output in self.outputs
