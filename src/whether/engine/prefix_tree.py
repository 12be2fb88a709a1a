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

    def passes(self, max_nodes: int, max_leaves: int) -> Iterator[Pass]:
        """Yield the passes in the order in which they must run.

        A pass has at most `max_nodes` nodes, and at most `max_leaves` sequences end in it. Every token of every
        sequence is in exactly one pass; a token that sequences share is computed once.
        """
        todo = [(0, len(self.sequences), 0)] if self.sequences else []
        while todo:
            first, last, depth = todo.pop()
            if last - first <= max_leaves and self.nodes(first, last, depth) <= max_nodes:
                yield self._subtree(first, last, depth)
            else:
                stem = self.common(first, last)
                yield from self._chain(first, last, depth, stem, max_nodes)
                todo += reversed(list(self._groups(first, last, stem, max_nodes, max_leaves)))

    def _groups(
        self, first: int, last: int, depth: int, max_nodes: int, max_leaves: int
    ) -> Iterator[tuple[int, int, int]]:
        """Split a subtree into runs of branches that fit into one pass each; a branch that does not is alone."""
        starts = [first, *(index for index in range(first + 1, last) if self.shared[index] == depth), last]
        if len(self.sequences[first]) == depth:
            starts = starts[1:]  # the first sequence ends where the branches begin
        begin = starts[0]
        for start, end in pairwise(starts):
            if begin < start and (end - begin > max_leaves or self.nodes(begin, end, depth) > max_nodes):
                yield begin, start, depth
                begin = start
        if begin < last:
            yield begin, last, depth

    def _chain(self, first: int, last: int, depth: int, end: int, max_nodes: int) -> Iterator[Pass]:
        """Walk the tokens from `depth` to `end` that all of the sequences share, in passes of even size."""
        size = math.ceil((end - depth) / math.ceil((end - depth) / max_nodes)) if end > depth else 1
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
