"""Plan how sequences that share prefixes go through a model so that every shared token is computed once.

The sequences form a tree of tokens. The model walks it depth first in passes. A pass sees a *chain* (the tokens from
the root to some node, held in a key-value cache) and computes a bounded number of nodes below it, each of which
attends to the chain and to its own ancestors in the pass. So nothing is padded, and memory does not grow with the
number of sequences. Everything here is a pure function of the token ids: the same sequences make the same passes.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

Tokens = tuple[int, ...]

PASS_COST = 32
"""Tokens that take about as long to compute as a pass takes by itself, however small: it reads all weights."""


class Pass(NamedTuple):
    """Nodes of the tree that go through the model together."""

    cached: int
    """Length of the chain that the nodes hang on; a longer cache must be cut to it."""
    tokens: list[int]
    """Token id of each node; a parent comes before its children."""
    parents: list[int]
    """Index of each node's parent in this pass; -1 for the end of the chain."""
    depths: list[int]
    """Position of each node in its sequences, counted from 0."""
    first: int
    """Index of the first of the consecutive sequences that run through this pass."""
    paths: list[Sequence[int]]
    """For each of those sequences, its nodes at depth `cached`, `cached + 1`, ..."""


class PrefixTree:
    """Different sequences in lexicographic order, so that those with a common prefix are neighbours.

    `sequences[i]` and `sequences[i - 1]` have their first `shared[i]` tokens in common; `shared[0]` is 0.
    """

    def __init__(self, sequences: Sequence[Tokens]):
        self.sequences = sorted(set(sequences))
        self.shared = [0] * len(self.sequences)
        self.shared[1:] = (common_prefix(a, b) for a, b in pairwise(self.sequences))
        new = (len(sequence) - shared for sequence, shared in zip(self.sequences, self.shared, strict=True))
        self._new = list(accumulate(new, initial=0))

    def common(self, first: int, last: int) -> int:
        """Return the length of the prefix that sequences `first` to `last` (exclusive) have in common."""
        return min(self.shared[first + 1 : last], default=len(self.sequences[first]))

    def nodes(self, first: int, last: int, depth: int) -> int:
        """Return how many nodes the subtree of sequences `first` to `last` (exclusive) has from `depth` on."""
        return len(self.sequences[first]) - depth + self._new[last] - self._new[first + 1]

    def ends(self, step: Pass) -> list[tuple[int, Sequence[int]]]:
        """Return index and path of those sequences that end in a pass: all of a subtree, at most one of a chain."""
        through = enumerate(step.paths, step.first)
        return [(index, path) for index, path in through if step.cached + len(path) == len(self.sequences[index])]

    def passes(self, max_nodes: int, max_leaves: int, pass_cost: int = PASS_COST, start: int = 0) -> Iterator[Pass]:
        """Yield the passes in the order in which they must run, from depth `start` on: a chain holds what is before.

        A pass has at most `max_nodes` nodes, and at most `max_leaves` sequences end in it. A token that sequences share
        is computed once, except where `pass_cost` tokens again are cheaper than a pass of their own for what is
        shared: with a `pass_cost` of 0 every token of every sequence is in exactly one pass.
        """
        pass_cost = min(pass_cost, max_nodes // 8)
        todo = [(0, len(self.sequences), start)] if self.sequences else []
        while todo:
            first, last, depth = todo.pop()
            if last - first <= max_leaves and self.nodes(first, last, depth) <= max_nodes:
                yield self._subtree(first, last, depth)
                continue
            stem = self.common(first, last)
            runs = max(math.ceil(self.nodes(first, last, depth) / max_nodes), math.ceil((last - first) / max_leaves))
            if (stem - depth) * runs > pass_cost or last - first == 1:
                yield from self._chain(first, last, depth, stem, max_nodes)
                first += len(self.sequences[first]) == stem  # it ends with the chain
                depth = stem
            limits = {"max_nodes": max_nodes, "max_leaves": max_leaves, "pass_cost": pass_cost}
            todo += reversed(list(self._runs(first, last, depth, **limits)))

    def _runs(
        self, first: int, last: int, depth: int, *, max_nodes: int, max_leaves: int, pass_cost: int
    ) -> Iterator[tuple[int, int, int]]:
        """Cut sequences into runs of neighbours: those that fit into one pass, and those that share too much to cut.

        A cut costs as many tokens as the sequences on its two sides share.
        """
        begin = first
        while begin < last:
            end = begin + 1
            cut = None
            while end < last and end - begin < max_leaves and self.nodes(begin, end + 1, depth) <= max_nodes:
                end += 1
                if self.shared[end - 1] - depth <= pass_cost:
                    cut = end - 1
            fits = self.nodes(begin, end, depth) <= max_nodes
            if fits and (end == last or self.shared[end] - depth <= pass_cost):
                cut = end
            elif cut is None:
                further = (index for index in range(end, last) if self.shared[index] - depth <= pass_cost)
                cut = next(further, last)
            yield begin, cut, depth
            begin = cut

    def _chain(self, first: int, last: int, depth: int, end: int, max_nodes: int) -> Iterator[Pass]:
        """Walk the tokens from `depth` to `end` that all of the sequences share, in passes of even size."""
        size = math.ceil((end - depth) / math.ceil((end - depth) / max_nodes))
        for start in range(depth, end, size):
            tokens = list(self.sequences[first][start : min(start + size, end)])
            nodes = range(len(tokens))
            depths = list(range(start, start + len(tokens)))
            yield Pass(start, tokens, [node - 1 for node in nodes], depths, first, [nodes] * (last - first))

    def _subtree(self, first: int, last: int, depth: int) -> Pass:
        """Put all nodes of sequences `first` to `last` (exclusive) from `depth` on into one pass."""
        result = Pass(depth, [], [], [], first, [])
        path: list[int] = []
        for index in range(first, last):
            sequence = self.sequences[index]
            start = self.shared[index] if index > first else depth
            path = path[: start - depth]
            for position in range(start, len(sequence)):
                result.parents.append(path[-1] if path else -1)
                path.append(len(result.tokens))
                result.tokens.append(sequence[position])
                result.depths.append(position)
            result.paths.append(path)
        return result


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the length of the longest common prefix."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))
