"""A linear classifier in place of a language model's output head: it reads the hidden state after the prompt.

Imports torch: import it where it is used.
"""

from collections.abc import Sequence
from typing import Any

import torch


class LabelHead(torch.nn.Linear):
    """Scores of labels, float32, from hidden states [..., features] of any precision; all zero until it is trained."""

    def __init__(self, labels: Sequence[str], like: torch.Tensor):
        """Make a head for these labels that reads what embeddings `like` [vocabulary, features] are made of."""
        super().__init__(like.shape[-1], len(labels), device=like.device, dtype=torch.float32)
        torch.nn.init.zeros_(self.weight)
        torch.nn.init.zeros_(self.bias)
        self.labels = tuple(labels)
        """What each row is a score of: a label."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the scores [..., labels]."""
        return super().forward(hidden.to(self.weight.dtype))


def replace_output_head(model: Any, labels: Sequence[str]) -> Any:
    """Return the model with a new `LabelHead` in place of its output head, which input embeddings may still use."""
    model.config.tie_word_embeddings = False
    model.set_output_embeddings(LabelHead(labels, model.get_input_embeddings().weight))
    return model


def label_head(model: Any) -> LabelHead | None:
    """Return a model's label head, or None if it is a language model."""
    head = model.get_output_embeddings()
    return head if isinstance(head, LabelHead) else None
