"""Attention over the nodes of a pass on a CPU: each node sees the chain, its ancestors and itself.

What all nodes see, and what only some see, is attended to by itself; parts are joined by their log-sum-exps. Scores
that a mask would hide are mostly not computed: where branches are long, each is a causal attention of its own; where
they are short, neighbours stand in blocks with the few nodes that some of them can see.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from whether.engine.prefix_tree import Pass

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK = 64
"""Most nodes of a block of queries."""
MULTIPLE = 8
"""Blocks are as wide as a multiple of this."""
MIN_BRANCH_NODES = 80
"""Nodes that a pass's branches have on average where each is attended to by itself. Measured with SmolLM2-135M: with
64 both ways take the same time, with 256 blocks take two to four times as long."""


class PartialAttention(NamedTuple):
    """Attention to some of the keys that queries see."""

    output: "Tensor"
    """[..., N, D]."""
    weight: "Tensor"
    """Log-sum-exps of the scores [..., N]."""


def joined(one: PartialAttention, other: PartialAttention) -> PartialAttention:
    """Return the attention to the keys of both."""
    import torch

    share = torch.sigmoid(other.weight - one.weight)[..., None].to(one.output.dtype)
    return PartialAttention(torch.lerp(one.output, other.output, share), torch.logaddexp(one.weight, other.weight))


def flash(query: "Tensor", key: "Tensor", value: "Tensor", *, scale: float | None, **options: Any) -> PartialAttention:
    """Attend with [B, H, N, D] to [B, H, L, D].

    It is what `scaled_dot_product_attention` calls on a CPU.
    """
    import torch

    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return PartialAttention(*attend(query, key, value, scale=scale, **options))


def _flash_groups(
    query: "Tensor", key: "Tensor", value: "Tensor", scaling: float | None, **options: Any
) -> PartialAttention:
    """Attend with [G, E, N, D] to [G, L, D]."""
    key, value = (part[:, None].expand(-1, query.shape[1], -1, -1) for part in (key, value))
    return flash(query, key, value, scale=scaling, **options)


class LongBranch(NamedTuple):
    """Nodes in a row, each the child of the one before."""

    start: int
    end: int
    path: "Tensor | None"
    """Nodes between the chain and the first of them; None: there are none."""


class BranchLayout(NamedTuple):
    """The nodes of a pass in long branches."""

    cached: int
    """Length of the chain, which all nodes see."""
    branches: Sequence[LongBranch]

    def attend(self, query: "Tensor", key: "Tensor", value: "Tensor", scaling: float | None) -> "Tensor":
        """Attend with nodes [1, H, N, D] to the chain and the nodes [1, G, cached + N, D]; returns [1, N, H, D]."""
        import torch

        grouped, chain = _attend_to_chain(query, key, value, self.cached, scaling)
        key, value = key[0, :, self.cached :], value[0, :, self.cached :]
        parts = [self._attend_to_branch(branch, grouped, key, value, scaling) for branch in self.branches]
        whole = PartialAttention(*(torch.cat(part, dim=2) for part in zip(*parts, strict=True)))
        output = (whole if chain is None else joined(whole, chain)).output
        return output.reshape(1, *query.shape[1:]).transpose(1, 2)

    @staticmethod
    def _attend_to_branch(
        branch: LongBranch, grouped: "Tensor", key: "Tensor", value: "Tensor", scaling: float | None
    ) -> PartialAttention:
        own = slice(branch.start, branch.end)
        query = grouped[:, :, own]
        result = _flash_groups(query, key[:, own], value[:, own], scaling, is_causal=True)
        if branch.path is None:
            return result
        return joined(result, _flash_groups(query, key[:, branch.path], value[:, branch.path], scaling))


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
    mask: "Tensor"
    """What is added to the scores [B, 1, Q, K]."""

    def attend(self, query: "Tensor", key: "Tensor", value: "Tensor", scaling: float | None) -> "Tensor":
        """Attend with nodes [1, H, N, D] to the chain and the nodes [1, G, cached + N, D]; returns [1, N, H, D]."""
        grouped, chain = _attend_to_chain(query, key, value, self.cached, scaling)
        nodes = key[0, :, self.cached :], value[0, :, self.cached :]
        return _attend_to_blocks(grouped, nodes, chain, self, scaling)[None]


PassLayout = Blocks | BranchLayout
"""How the nodes of a pass are attended with."""


def _attend_to_chain(
    query: "Tensor", key: "Tensor", value: "Tensor", cached: int, scaling: float | None
) -> tuple["Tensor", PartialAttention | None]:
    """Return a pass's queries [1, H, N, D] by group [G, E, N, D], and their attention to the chain, if there is one."""
    heads, nodes, size = query.shape[1:]
    groups = key.shape[1]
    grouped = query[0].view(groups, heads // groups, nodes, size)
    return grouped, _flash_groups(grouped, key[0, :, :cached], value[0, :, :cached], scaling) if cached else None


def _attend_to_blocks(
    grouped: "Tensor",
    key_value: tuple["Tensor", "Tensor"],
    chain: PartialAttention | None,
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


def pass_layout(step: Pass, dtype: "torch.dtype") -> PassLayout:
    """Return how a pass's nodes are attended with: in long branches, or in blocks."""
    starts = [node for node, parent in enumerate(step.parents) if parent != node - 1 or not node]
    if len(starts) > 1 and len(step.parents) < MIN_BRANCH_NODES * len(starts):
        return block_layout(step, dtype)
    ends = [*starts[1:], len(step.parents)]
    return BranchLayout(
        step.cached, [_branch(step.parents, start, end) for start, end in zip(starts, ends, strict=True)]
    )


def _branch(parents: Sequence[int], start: int, end: int) -> LongBranch:
    import torch

    path = _path(parents, parents[start])
    return LongBranch(start, end, torch.tensor(path) if path else None)


def block_layout(step: Pass, dtype: "torch.dtype") -> Blocks:
    """Divide a pass's nodes into blocks, and cut where the path to the next node is short."""
    import torch

    parents = step.parents
    nodes = len(parents)
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
