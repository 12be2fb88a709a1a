"""The plain path: one row a sequence, only rows of equal length together, nothing shared, no mask of our own.

Slower than the tree, and right for every causal model of transformers: the reference that the tree is checked
against, and what answers where it does not pass.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from whether.engine.rows import FinishedRow, RowDecoder
from whether.model.memory import retry_on_oom

if TYPE_CHECKING:
    from torch import Tensor

    from whether.engine.prefix_tree import Tokens
    from whether.model.memory import Limits


def batches(lengths: Sequence[int], max_tokens: int, max_rows: int = sys.maxsize) -> Iterator[list[int]]:
    """Yield indices of sequences that can go through a model together: of equal length, `max_tokens` in all."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for length, group in groupby(order, key=lambda index: lengths[index]):
        indices = list(group)
        size = max(1, min(max_rows, max_tokens // max(1, length)))
        yield from (indices[start : start + size] for start in range(0, len(indices), size))


def logits(model: Any, sequences: Sequence["Tokens"], first: int) -> "Tensor":
    """Return the logits [B, length - first, vocabulary] of sequences of equal length from position `first` on."""
    import torch

    inputs = torch.tensor(sequences, device=model.device)
    result: Tensor = model(input_ids=inputs, use_cache=False, logits_to_keep=inputs.shape[1] - first).logits
    return result


def generate_unshared(
    model: Any, sequences: Sequence["Tokens"], writer: RowDecoder, limits: "Limits"
) -> Iterator[list[FinishedRow]]:
    """Yield the answers to each sequence, a batch at a time; those to one sequence are in order.

    transformers' own `generate` runs the model, and the writer chooses the tokens.
    """
    todo = dict.fromkeys((index, sample) for index, _ in enumerate(sequences) for sample in range(writer.samples))

    def attempt(limits: "Limits") -> Iterator[list[FinishedRow]]:
        asked = list(todo)
        lengths = [len(sequences[index]) + writer.room for index, _ in asked]
        for places in batches(lengths, min(limits.nodes, limits.own_tokens), limits.rows):
            batch = [asked[place] for place in places]
            yield _answer_batch(model, sequences, batch, writer)
            for pair in batch:
                del todo[pair]

    return retry_on_oom(limits, attempt)


def _answer_batch(
    model: Any, sequences: Sequence["Tokens"], batch: Sequence[tuple[int, int]], writer: RowDecoder
) -> list[FinishedRow]:
    """Answer (sequence, sample) pairs of equally long sequences."""
    import torch
    from transformers import LogitsProcessorList, StoppingCriteriaList

    start = time.perf_counter()
    rows = [writer.row(sequences[index], sample) for index, sample in batch]
    inputs = torch.tensor([sequences[index] for index, _ in batch], device=model.device)

    def chosen(_: "Tensor", scores: "Tensor") -> "Tensor":
        writer.write(scores, rows)
        tokens = [row.tokens[-1] if row.tokens else 0 for row in rows]
        return torch.full_like(scores, -torch.inf).scatter(1, torch.tensor(tokens, device=scores.device)[:, None], 0.0)

    def done(tokens: "Tensor", _: "Tensor", **__: Any) -> "Tensor":
        return torch.tensor([row.is_done for row in rows], device=tokens.device)

    model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        max_new_tokens=writer.room,
        pad_token_id=0,
        logits_processor=LogitsProcessorList([chosen]),
        stopping_criteria=StoppingCriteriaList([done]),
    )
    seconds = (time.perf_counter() - start) / len(batch)
    return [FinishedRow(index, row, seconds) for (index, _), row in zip(batch, rows, strict=True)]
