"""Attention in which what many tokens share is read once: over a tree of tokens, and while decoding rows.

Both are ordinary attention up to rounding. Keys fall into a part that all queries see and parts that only some see;
each is attended to by itself, and the results are joined by their log-sum-exps or go through one softmax (the idea of
Hydragen, Juravsky et al. 2024, https://arxiv.org/abs/2402.05099). So scores that a mask would hide are not computed.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whether.engine.prefix_tree import Pass
from whether.model.attention import require_plain_attention

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAME = "shared_prefix"
"""Name of this attention among those of transformers."""
BLOCK = 64
"""Most nodes of a block of queries."""
MULTIPLE = 8
"""Blocks are as wide as a multiple of this."""


class Blocks(NamedTuple):
    """The nodes of a pass in blocks of neighbours, each with the few nodes that some of them can see.

    Nodes stand in depth-first order, so what a block's nodes see is in the block or on the path to its first node.
    Places without a node repeat node 0: as queries they see only the first key, as keys nobody sees them.
    """

    cached: int
    """Length of the chain, which all nodes see."""
    queries: "Tensor"
    """Node at each place of each block [B, Q]."""
    keys: "Tensor"
    """Nodes that each block's nodes can see [B, K]: the path to its first node, then the block, then no node."""
    place: "Tensor"
    """Flat place of each node among the queries [N]."""
    mask: "Tensor | None"
    """What is added to the scores [B, 1, Q, K]; None if the nodes are one chain: each sees those before it."""


def register() -> None:
    """Make the attention known to transformers under `NAME`. Models that use it behave as with `sdpa` otherwise."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, shared_prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def shared_prefix_attention(  # noqa: PLR0917 - transformers calls it so
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor | None",
    shared_prefix: Sequence[tuple["Tensor", "Tensor"]] | None = None,
    blocks: Blocks | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple["Tensor", None]:
    """Attend with queries [B, H, N, D] to keys [B, G, L, D] of G key-value heads, and return [B, N, H, D].

    With `blocks`, as in `attend_in_blocks`; with `shared_prefix`, which holds keys and values [G, P, D] for each layer,
    as in `attend_by_row`; otherwise this is transformers' `sdpa` with the mask [B, 1, N, L].
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    require_plain_attention(options)
    if blocks is not None:
        return attend_in_blocks(query, key, value, blocks, scaling), None
    if shared_prefix is not None:
        return attend_by_row(query, key, value, attention_mask, shared_prefix[module.layer_idx], scaling=scaling), None
    return sdpa_attention_forward(  # type: ignore[no-any-return]
        module, query, key, value, attention_mask, scaling=scaling, **options
    )


def attend_in_blocks(
    query: "Tensor", key: "Tensor", value: "Tensor", blocks: Blocks, scaling: float | None
) -> "Tensor":
    """Attend with the nodes of a pass [1, H, N, D] to the chain and the nodes [1, G, cached + N, D], on a CPU.

    Returns [1, N, H, D].
    """
    import torch

    heads, nodes, size = query.shape[1:]
    groups, cached = key.shape[1], blocks.cached
    grouped = query[0].view(groups, heads // groups, nodes, size)
    chain = _flash(grouped, key[0, :, :cached], value[0, :, :cached], scaling) if cached else None
    nodes_key_value = key[0, :, cached:], value[0, :, cached:]
    if blocks.mask is not None:
        return _attend_to_blocks(grouped, nodes_key_value, chain, blocks, scaling)[None]
    own, own_weight = _flash(grouped, *nodes_key_value, scaling, is_causal=True)
    if chain is not None:
        own = torch.lerp(chain[0], own, torch.sigmoid(own_weight - chain[1])[..., None].to(own.dtype))
    return own.reshape(heads, nodes, size).transpose(0, 1)[None]


def _attend_to_blocks(
    grouped: "Tensor",
    key_value: tuple["Tensor", "Tensor"],
    chain: "tuple[Tensor, Tensor] | None",
    blocks: Blocks,
    scaling: float | None,
) -> "Tensor":
    """Attend with nodes [G, H/G, N, D] to nodes [G, N, D], joined with what they see of the chain; returns [N, H, D].

    The chain is one more key: its score is the log-sum-exp of its scores, so one softmax weighs it with the nodes.
    """
    import torch

    groups, each, nodes, size = grouped.shape
    (count, width), reach = blocks.queries.shape, blocks.keys.shape[1]
    # Rows of [N, H] in the order of [G, B, H/G, Q], and back: one copy each instead of a copy for each transposition.
    head = torch.arange(groups * each).view(groups, 1, each, 1)
    picked = (blocks.queries[:, None] * (groups * each) + head).flatten()
    block, row = blocks.place // width, blocks.place % width
    group, head = torch.arange(groups)[:, None], torch.arange(each)
    back = (((group * count + block[:, None, None]) * each + head) * width + row[:, None, None]).flatten()

    by_node = grouped.reshape(groups * each, nodes, size).transpose(0, 1).reshape(-1, size)
    queries = by_node.index_select(0, picked).view(groups * count, each * width, size) * (scaling or size**-0.5)
    keys, values = (part[:, blocks.keys].flatten(0, 1) for part in key_value)
    scores = queries @ keys.transpose(1, 2)
    by_block = scores.view(groups, count, each, width, reach)
    assert blocks.mask is not None, "what is one chain has no blocks"
    by_block += blocks.mask
    if chain is None:
        output = scores.softmax(-1) @ values
        return output.view(-1, size).index_select(0, back).view(nodes, -1, size)
    chain_output, chain_weight = chain
    by_block[..., -1] = chain_weight[:, :, blocks.queries].transpose(1, 2)
    weights = scores.softmax(-1)
    share = weights[..., -1].flatten().index_select(0, back).view(nodes, -1, 1)
    weights[..., -1] = 0
    output = (weights @ values).view(-1, size).index_select(0, back).view(nodes, -1, size)
    return output.addcmul_(share, chain_output.reshape(groups * each, nodes, size).transpose(0, 1))


def _flash(
    query: "Tensor", key: "Tensor", value: "Tensor", scaling: float | None, **options: Any
) -> "tuple[Tensor, Tensor]":
    """Attend with [G, E, N, D] to [G, L, D]; return that [G, E, N, D] and its log-sum-exps [G, E, N].

    It is what `scaled_dot_product_attention` calls on a CPU.
    """
    import torch

    key, value = (part[:, None].expand(-1, query.shape[1], -1, -1) for part in (key, value))
    output, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, scale=scaling, **options
    )
    return output, weight


def attend_by_row(
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor | None",
    prefix: tuple["Tensor", "Tensor"],
    *,
    scaling: float | None,
) -> "Tensor":
    """Attend with one query a row [B, H, 1, D] to a prefix [G, P, D] and to the row's own keys [B, G, L, D].

    P may be 0. The mask [B, 1, 1, L] is added to the scores of the row's own keys. Returns [B, 1, H, D].
    """
    import torch

    prefix_key, prefix_value = prefix
    rows, heads, _, size = query.shape
    groups, length, _ = prefix_key.shape
    each = heads // groups
    grouped = query.reshape(rows, groups, each, size) * (scaling or size**-0.5)
    own_scores = grouped @ key.transpose(2, 3)
    if attention_mask is not None:
        own_scores = own_scores + attention_mask
    by_group = grouped.transpose(0, 1).reshape(groups, rows * each, size)
    prefix_scores = (by_group @ prefix_key.transpose(1, 2)).view(groups, rows, each, length).transpose(0, 1)
    scores = torch.cat([prefix_scores, own_scores], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    by_group = weights[..., :length].transpose(0, 1).reshape(groups, rows * each, length)
    output = weights[..., length:] @ value
    output += (by_group @ prefix_value).view(groups, rows, each, output.shape[-1]).transpose(0, 1)
    return output.reshape(rows, 1, heads, -1)


def tree_mask(step: Pass, dtype: "torch.dtype") -> "Tensor":
    """Return what is added to the scores of a pass's N nodes so that each sees the chain, its ancestors and itself.

    Shape [1, 1, N, cached + N]; 0 where a node may look and the lowest number of `dtype` where not.
    """
    import torch

    nodes = len(step.parents)
    mask = torch.zeros(1, 1, nodes, step.cached + nodes, dtype=dtype)
    mask[0, 0, :, step.cached :].masked_fill_(~torch.from_numpy(_visible(step.parents)), torch.finfo(dtype).min)
    return mask


def _visible(parents: Sequence[int]) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    """Return whether node i is node j or comes after it [N, N]."""
    visible = np.eye(len(parents), dtype=np.bool_)
    for node, parent in enumerate(parents):
        if parent >= 0:
            visible[node] |= visible[parent]
    return visible


def block_layout(step: Pass, dtype: "torch.dtype") -> Blocks:
    """Divide a pass's nodes into blocks, and cut where the path to the next node is short."""
    import torch

    parents = step.parents
    nodes = len(parents)
    everyone = torch.arange(nodes)
    if all(parent == node - 1 for node, parent in enumerate(parents)):
        return Blocks(step.cached, everyone[None], everyone[None], everyone, None)
    starts = [0]
    while nodes - starts[-1] > BLOCK:
        cuts = range(starts[-1] + BLOCK // 2 + 1, starts[-1] + BLOCK + 1)
        starts.append(max(cuts, key=lambda node: (-step.depths[node], node)))
    paths = [_path(parents, parents[start]) for start in starts]
    sizes = [end - start for start, end in pairwise([*starts, nodes])]
    width = _round_up(max(sizes))
    reach = _round_up(max(len(path) + size for path, size in zip(paths, sizes, strict=True)) + 1)  # and the chain
    queries = np.zeros((len(starts), width), dtype=np.int64)
    keys = np.zeros((len(starts), reach), dtype=np.int64)
    place = np.empty(nodes, dtype=np.int64)
    visible = np.zeros((len(starts), width, reach), dtype=np.bool_)
    visible[:, :, 0] = True  # until a node is there
    for block, (start, size, path) in enumerate(zip(starts, sizes, paths, strict=True)):
        own = np.arange(start, start + size)
        queries[block, :size] = own
        keys[block, : len(path) + size] = [*path, *own]
        place[own] = block * width + np.arange(size)
        column = {node: index for index, node in enumerate(path)}
        for row, node in enumerate(range(start, start + size)):
            parent = parents[node]
            if parent >= start:
                visible[block, row] = visible[block, parent - start]
            else:
                visible[block, row] = np.arange(reach) <= column.get(parent, -1)
            visible[block, row, len(path) + row] = True
    mask = torch.zeros(len(starts), 1, width, reach, dtype=dtype)
    mask.masked_fill_(~torch.from_numpy(visible)[:, None], torch.finfo(dtype).min)
    return Blocks(step.cached, torch.from_numpy(queries), torch.from_numpy(keys), torch.from_numpy(place), mask)


def _path(parents: Sequence[int], node: int) -> list[int]:
    """Return the nodes from the chain's end down to a node."""
    path = []
    while node >= 0:
        path.append(node)
        node = parents[node]
    return path[::-1]


def _round_up(size: int) -> int:
    return -(-size // MULTIPLE) * MULTIPLE
