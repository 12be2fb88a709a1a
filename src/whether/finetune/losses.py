"""What answers cost: the loss of each example's answer tokens, and the score that chooses the best checkpoint.

Imports torch and transformers: import it where it is used.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction

from whether.finetune.packing import IGNORED, Batch, logits_at_answers


def answer_scores(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each example its summed loss, float32, and how many answer tokens are the likeliest ones."""
    labels = batch["labels"]
    logits = logits_at_answers(model, batch)
    owners, columns = labels.ne(IGNORED).nonzero(as_tuple=True)
    answers = labels[owners, columns]
    losses = logits.new_zeros(len(labels)).index_add(0, owners, _negative_log_likelihoods(logits, answers))
    right = (logits.argmax(dim=-1) == answers).long()
    return losses, labels.new_zeros(len(labels)).index_add(0, owners, right)


def _negative_log_likelihoods(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return that of each row's token, float32 nats [N]; logits are float32 [N, vocabulary], tokens int64 [N].

    Not `cross_entropy`: over a large vocabulary its sum of exponentials on a CPU has several times the error of
    `logsumexp`, mostly to one side; the gradients have it too, and Adam's first steps enlarge it.
    """
    return logits.logsumexp(dim=-1) - logits.gather(1, tokens[:, None])[:, 0]


def answer_counts(batch: Batch) -> torch.Tensor:
    """Return how many answer tokens each example has."""
    counts: torch.Tensor = batch["labels"].ne(IGNORED).sum(dim=1)
    return counts


def dev_metrics(prediction: EvalPrediction, classes: Sequence[Hashable] | None = None) -> dict[str, float]:
    """Return loss and accuracy over all examples, and the score that chooses the best checkpoint.

    The score orders by exactly answered examples, which is what greedy decoding will be measured by, and then by loss:
    few examples give many ties, and among those the surer model is the better guess. It is their number minus a
    monotone function of the loss in [0, 1), so that the loss can never outweigh an example.

    With `classes`, one for each example, every class counts equally, and an example of the most frequent one as 1: a
    model that gives the most frequent answer to everything is then no better than one that gives any other.
    """
    losses, right = prediction.predictions
    tokens = prediction.label_ids
    loss, exact = float(losses.sum() / tokens.sum()), right == tokens
    weights = _class_weights(classes) if classes else 1.0
    return {
        "loss": loss,
        "token_accuracy": float(right.sum() / tokens.sum()),
        "exact": float(exact.mean()),
        "score": float((exact * weights).sum() - loss / (1 + loss)),
    }


def _class_weights(classes: Sequence[Hashable]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return the weight of each example, so that every class has the same in all; the least is 1."""
    counts = Counter(classes)
    return np.array([max(counts.values()) / counts[name] for name in classes])
