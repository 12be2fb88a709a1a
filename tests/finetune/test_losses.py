"""The loss of answers is that of exact arithmetic, also over a large vocabulary."""

from types import SimpleNamespace
from typing import Any

import torch

from whether.finetune.data import TrainingRow
from whether.finetune.losses import answer_scores
from whether.finetune.packing import Collator

VOCABULARY = 49_152
ROWS = [TrainingRow(prompt=[1, 2, 3, 4 + index], answer=[10 + index, 5, 2]) for index in range(16)]


def loss_and_gradient(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.detach().clone().requires_grad_()

    def model(**inputs: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=logits)

    losses, _ = answer_scores(model, Collator(packed=False, mask_dtype=torch.float32)(ROWS))
    losses.sum().backward()
    assert logits.grad is not None
    return losses.detach().double(), logits.grad.double()


def test_losses_and_gradients_have_no_error_beyond_rounding() -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(len(ROWS), 7, VOCABULARY)
    # A model that is sure of an answer.
    logits[..., 5] = 14
    losses, gradient = loss_and_gradient(logits)
    exact = logits.double()[:, 3:6].log_softmax(-1)
    answers = torch.tensor([row.answer for row in ROWS])
    expected = -exact.gather(2, answers[:, :, None])[:, :, 0].sum(1)
    # cross_entropy on a CPU is at 8e-6, and its gradient at 2e-6.
    assert abs((losses - expected).mean()) < 1e-6
    expected_gradient = exact.exp() - torch.nn.functional.one_hot(answers, VOCABULARY)
    assert abs((gradient[:, 3:6] - expected_gradient)[..., 5].mean()) < 5e-7
