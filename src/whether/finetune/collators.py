"""The fastest collator that is exact for a model, found by trying it.

Imports torch and peft: import it where it is used.
"""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from peft import PeftModel

from whether.finetune import packed_attention
from whether.finetune.data import TrainingRow
from whether.finetune.losses import answer_counts, answer_scores
from whether.finetune.packing import Collator
from whether.model.memory import is_out_of_memory

logger = logging.getLogger(__name__)

_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Largest difference in log-probability that rounding explains, by precision of the model."""


def make_collator(model: Any, rows: Sequence[TrainingRow]) -> Collator:
    """Return the fastest collator that gives this model the numbers of padded batches; the padding one says so.

    In turn: packed with attention in blocks, packed with a mask, padded. Each is run on the longest and the shortest
    rows: a model that ignores the mask, restarts positions by itself, or looks at a sliding window shorter than the
    longest row answers differently.
    """
    dtype = model.dtype
    by_length = sorted(rows, key=lambda row: len(row.prompt) + len(row.answer))
    sample = [*by_length[:2], *by_length[-2:]]
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    usual = base.config._attn_implementation
    expected = _token_losses(model, sample, Collator(False, dtype))
    packed_attention.register()
    for blocks in (True, False):
        base.set_attn_implementation(packed_attention.NAME if blocks else usual)
        collator = Collator(True, dtype, blocks)
        try:
            difference = float((_token_losses(model, sample, collator) - expected).abs().max())
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            logger.log(logging.DEBUG if blocks else logging.WARNING, "packed batches are refused: %s", error)
            difference = math.inf
        if difference <= _TOLERANCE[dtype]:
            return collator
    logger.warning(
        "%s cannot share prefixes (log-probabilities differ by %.2g): padded batches are used, which take longer",
        type(base).__name__,
        difference,
    )
    return Collator(False, dtype)


def _token_losses(model: Any, rows: Sequence[TrainingRow], collator: Collator) -> torch.Tensor:
    """Return each example's loss per token."""
    was_training = model.training
    model.eval()
    try:
        batch = send_to_device(collator(rows), model.device)
        with torch.no_grad():
            losses = answer_scores(model, batch)[0]
        return losses / answer_counts(batch)
    finally:
        model.train(was_training)
