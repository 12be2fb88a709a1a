"""What answers cost: the loss of each example's answer tokens, and the score that chooses the best checkpoint.

Imports torch and transformers: import it where it is used.
"""

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

    With `classes`, one for each example, `class_f1_estimate` takes the place of that number: a model that gives the
    most frequent answer to everything is then no better than one that tells the others apart.
    """
    losses, right = prediction.predictions
    tokens = prediction.label_ids
    loss, exact = float(losses.sum() / tokens.sum()), right == tokens
    quality = 1e6 * class_f1_estimate(exact, classes) if classes else float(exact.sum())
    return {
        "loss": loss,
        "token_accuracy": float(right.sum() / tokens.sum()),
        "exact": float(exact.mean()),
        "score": quality - loss / (1 + loss),
    }


def class_f1_estimate(exact: "np.ndarray[Any, np.dtype[np.bool_]]", classes: Sequence[Hashable]) -> float:
    """Return the mean over classes of their F1, given which examples are answered right and the class of each.

    Which class a wrong answer names is not known, so each is taken to be one of the others, all equally likely: with
    two classes that is exact.
    """
    names, codes = np.unique(np.array([str(name) for name in classes]), return_inverse=True)
    right = np.bincount(codes, exact, len(names))
    missed = np.bincount(codes, ~exact, len(names))
    taken = (missed.sum() - missed) / max(len(names) - 1, 1)
    return float((2 * right / (2 * right + missed + taken)).mean())
