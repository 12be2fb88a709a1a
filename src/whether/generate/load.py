"""What answers an arm's prompts: weights of this machine, or a served model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from whether.config import ModelConfig, ServedConfig
from whether.engine.backend import load_model
from whether.generate.protocol import ChatModel
from whether.model.loading import load_tokenizer
from whether.model.precision import precision_of
from whether.model.tokens import encode, render, transcript
from whether.records import Dtype, Message
from whether.served.budget import BudgetedModel, CountTokens
from whether.served.model import ServedModel


class LoadedCheckpoint(NamedTuple):
    """A checkpoint that is ready to answer."""

    model: ChatModel
    show: Callable[[Sequence[Message]], str]
    """A prompt as text: of a served model, whose template is not known, its messages."""
    count: CountTokens
    """Tokens of a prompt: of a served model, about."""
    context_window: int | None
    """Most tokens of a prompt and its answer together; None: a served model's is not known."""
    is_classifier: bool = False
    """Whether it answers with a label, and writes nothing."""
    served: BudgetedModel | None = None
    """The model, where it is a served one."""
    dtype: Dtype | None = None
    """Precision of the weights; None: a served model's is not known."""

    def too_long(self, messages: Sequence[Message], max_new_tokens: int) -> str | None:
        """Return why a prompt does not fit the model's context together with its answer; None where it does."""
        if self.context_window is None:
            return None
        length = self.count(messages)
        if length + max_new_tokens <= self.context_window:
            return None
        return (
            f"the prompt has {length} tokens, and with {max_new_tokens} for the answer that is more than the model's"
            f" context window of {self.context_window}: use fewer or shorter examples, or a model with a longer context"
        )


def load_checkpoint(
    name: str, model_folder: Path, checkpoint_folder: Path | None, model: ModelConfig, served: ServedConfig | None
) -> LoadedCheckpoint:
    """Load a checkpoint's weights, or make ready to ask a served model: within its limit, keeping each answer.

    Raises EngineError for a folder that cannot be loaded or does not run in `model.backend`, and where the environment
    does not hold the key.
    """
    if served:
        count = base_counter(model_folder)
        budgeted = BudgetedModel(served, name, count)
        return LoadedCheckpoint(budgeted, transcript, count, None, served=budgeted)
    dtype = precision_of(model)
    local = load_model(model_folder, checkpoint_folder, replace(model, dtype=dtype))
    tokenizer = local.tokenizer
    return LoadedCheckpoint(
        local,
        lambda chat: render(tokenizer, chat),
        lambda chat: len(encode(tokenizer, chat)),
        local.context_window,
        is_classifier=local.is_probe,
        dtype=dtype,
    )


def connect(served: ServedConfig) -> LoadedCheckpoint:
    """Make ready to ask a served model without a limit and without keeping its answers: for requests of users."""
    return LoadedCheckpoint(ServedModel(served), transcript, lambda chat: 0, None)  # noqa: ARG005


def base_counter(model_folder: Path) -> CountTokens:
    """Return what counts a chat's tokens with the base model's tokenizer; the model itself is not loaded."""
    tokenizer = load_tokenizer(model_folder)
    return lambda chat: len(encode(tokenizer, chat))
