"""Attention in blocks is attention with the dense mask, forwards and backwards."""

from collections.abc import Sequence
from typing import Any

import pytest

LENGTHS = {"many": [9, 12, 3, 30, 1, 17, 17, 40], "one": [7], "one long": [90, 3, 4], "all of one token": [1, 1, 1]}


def dense(query: Any, key: Any, value: Any, lengths: Sequence[int], prefix: int) -> Any:
    import torch

    owner = torch.tensor([0] * prefix + [number for number, length in enumerate(lengths, 1) for _ in range(length)])
    sees = ((owner[:, None] == owner) | (owner == 0)).tril()
    sees = torch.cat([torch.ones(len(owner), key.shape[2] - len(owner), dtype=torch.bool), sees], dim=1)
    key, value = (part.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for part in (key, value))
    scores = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).masked_fill(~sees, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("prefix", [0, 1, 50])
@pytest.mark.parametrize("past", [0, 6])
def test_it_equals_the_dense_mask(kind: str, prefix: int, past: int) -> None:
    import torch

    from whether.finetune.packed_attention import block_layout, blocked_attention

    torch.manual_seed(0)
    lengths = LENGTHS[kind]
    length = prefix + sum(lengths)
    query, key, value = (
        torch.randn(1, rows, heads, 8).transpose(1, 2).requires_grad_()
        for rows, heads in ((length, 6), (past + length, 2), (past + length, 2))
    )
    found = blocked_attention(query, key, value, block_layout(lengths, prefix, torch.float32))
    expected = dense(query, key, value, lengths, prefix)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(expected)
    gradients, wanted = (torch.autograd.grad((part * weights).sum(), (query, key, value)) for part in (found, expected))
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_in_half_precision_it_is_as_close_as_rounding_allows() -> None:
    import torch

    from whether.finetune.packed_attention import block_layout, blocked_attention

    torch.manual_seed(0)
    lengths = LENGTHS["many"]
    length = 50 + sum(lengths)
    query, key, value = (torch.randn(1, length, heads, 16).transpose(1, 2).bfloat16() for heads in (6, 2, 2))
    exact = [part.double().requires_grad_() for part in (query, key, value)]
    rounded = [part.requires_grad_() for part in (query, key, value)]
    expected = dense(*exact, lengths, 50)
    found = blocked_attention(*rounded, block_layout(lengths, 50, torch.bfloat16))
    assert (found - expected).norm() <= 0.01 * expected.norm()
    weights = torch.randn(expected.shape).bfloat16()
    gradients = torch.autograd.grad((found * weights).sum(), rounded)
    for one, other in zip(gradients, torch.autograd.grad((expected * weights).sum(), exact), strict=True):
        assert (one - other).norm() <= 0.02 * other.norm()


def test_blocks_are_filled_with_whole_examples() -> None:
    from whether.finetune.packed_attention import first_fit

    blocks = first_fit([9, 12, 3, 30, 1, 17, 17, 40], 40)
    assert blocks == [[7], [3, 0, 4], [5, 6, 2], [1]]
