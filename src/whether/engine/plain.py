"""The plain path: one row a sequence, only rows of equal length together, nothing shared, no mask of our own.

Slower than the tree, and right for every causal model of transformers: the reference that the tree is checked
against, and what answers where it does not pass.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from whether.engine.generation import Answer
    from whether.engine.prefix_tree import Tokens
    from whether.engine.rows import Row, Writer

MAX_TOKENS = 2048
"""Tokens of a batch."""


def batches(sequences: Sequence["Tokens"]) -> Iterator[list[int]]:
    """Yield the indices of sequences that can go through a model together: of equal length, `MAX_TOKENS` in all."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    for length, group in groupby(order, key=lambda index: len(sequences[index])):
        indices = list(group)
        size = max(1, MAX_TOKENS // max(1, length))
        yield from (indices[start : start + size] for start in range(0, len(indices), size))


def logits(model: Any, sequences: Sequence["Tokens"], first: int) -> "Tensor":
    """Return the logits [B, length - first, vocabulary] of sequences of equal length from position `first` on."""
    import torch

    inputs = torch.tensor(sequences, device=model.device)
    result: Tensor = model(input_ids=inputs, use_cache=False, logits_to_keep=inputs.shape[1] - first).logits
    return result


def answer_plainly(model: Any, sequences: Sequence["Tokens"], writer: "Writer") -> Iterator[list["Answer"]]:
    """Yield the answers to each sequence, a batch at a time; those to one sequence are in order.

    transformers' own `generate` runs the model, and the writer chooses the tokens.
    """
    import time

    import torch
    from transformers import LogitsProcessorList, StoppingCriteriaList

    from whether.engine.generation import Answer

    rows = [(index, row) for index, sequence in enumerate(sequences) for row in writer.rows(sequence)]
    for places in batches([sequences[index] for index, _ in rows]):
        start = time.perf_counter()
        batch = [rows[place][1] for place in places]
        inputs = torch.tensor([sequences[rows[place][0]] for place in places], device=model.device)

        def chosen(_: "Tensor", scores: "Tensor", batch: "list[Row]" = batch) -> "Tensor":
            writer.write(scores, batch)
            tokens = [row.tokens[-1] if row.tokens else 0 for row in batch]
            places = torch.tensor(tokens, device=scores.device)[:, None]
            return torch.full_like(scores, -torch.inf).scatter(1, places, 0.0)

        def done(tokens: "Tensor", _: "Tensor", batch: "list[Row]" = batch, **__: Any) -> "Tensor":
            return torch.tensor([row.is_done for row in batch], device=tokens.device)

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
        yield [Answer(*rows[place], seconds) for place in places]
