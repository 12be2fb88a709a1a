"""The plain path: one row a sequence, only rows of equal length together, nothing shared, no mask of our own.

Slower than the tree, and right for every causal model of transformers: the reference that the tree is checked
against, and what answers where it does not pass.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from whether.engine.generation import Answer, Ending
    from whether.engine.prefix_tree import Tokens

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


def answer_plainly(
    model: Any, sequences: Sequence["Tokens"], ending: "Ending"
) -> Iterator[tuple[list[int], list["Answer"]]]:
    """Yield indices of sequences and their answers, batch by batch, from transformers' own greedy `generate`."""
    import time

    import torch
    from transformers import StoppingCriteriaList

    from whether.engine.generation import Answer

    for indices in batches(sequences):
        start = time.perf_counter()
        inputs = torch.tensor([sequences[index] for index in indices], device=model.device)
        length = inputs.shape[1]

        def stopped(token_ids: "Tensor", *_: Any, length: int = length, **__: Any) -> "Tensor":
            rows = [ending.is_stopped(row) for row in token_ids[:, length:].tolist()]
            return torch.tensor(rows, device=token_ids.device)

        eos = sorted(ending.eos_token_ids)
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            do_sample=False,
            max_new_tokens=ending.max_new_tokens,
            eos_token_id=eos or None,
            pad_token_id=eos[0] if eos else 0,
            stopping_criteria=StoppingCriteriaList([stopped]),
        )
        seconds = (time.perf_counter() - start) / len(indices)
        yield indices, [Answer(_new(row, ending), seconds) for row in output[:, length:].tolist()]


def _new(row: list[int], ending: "Ending") -> list[int]:
    """Return a row's tokens up to where it was done; a row that is done before others is padded."""
    result: list[int] = []
    for token in row:
        if token in ending.eos_token_ids:
            break
        result.append(token)
        if ending.is_stopped(result):
            break
    return result
