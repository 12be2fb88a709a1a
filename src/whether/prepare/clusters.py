"""Clusters of similar texts: single linkage, so that no two of different clusters are as similar as the threshold.

Links are chains. Where texts follow a template ("What is 12 plus 45?"), each resembles some other, and one chain takes
in most of the rows: then similarity says how the rows were made, and not that they are the same. A cluster larger than
`largest_cluster` is therefore cut at a higher threshold, halfway to 1, and again until its parts are small enough;
texts that are equal stay together in any case.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from whether.prepare.similar import Codes, Pairs, similar_pairs

FINEST = 0.999
"""Threshold above which only equal texts are left together."""


class Template(NamedTuple):
    """Texts that are too many to be near-duplicates of each other."""

    members: Codes
    """Their places."""
    threshold: float
    """How similar those are that stayed together; 1: only equal ones did."""


class Clusters(NamedTuple):
    """Which texts belong together."""

    numbers: Codes
    """Of each text, the number of its cluster."""
    templates: list[Template]


def largest_cluster(rows: int) -> int:
    """Return the most rows that near-duplicates of each other may be: a fiftieth, but in a set of less than 500 rows
    ten, or a tenth, or three."""
    return max(3, rows // 50, min(10, rows // 10))


def cluster(texts: Sequence[str], threshold: float) -> Clusters:
    """Return the clusters of texts that are linked by similarity of at least `threshold`; at 1, of equal texts."""
    places: dict[str, int] = {}
    which = np.array([places.setdefault(text, len(places)) for text in texts], dtype=np.int64)
    different = list(places)
    sizes = np.bincount(which, minlength=len(different))
    forest = _Forest(len(different))
    if threshold < 1:
        for pairs in similar_pairs(different, threshold):
            forest.add(pairs)
    numbers, cut = _cut(forest.pairs(), sizes, threshold, largest_cluster(len(texts)))
    templates = [Template(np.flatnonzero(np.isin(which, members)), level) for members, level in cut]
    return Clusters(numbers[which], templates)


class _Forest:
    """The strongest links between texts: a maximum spanning forest, which has the clusters of every threshold."""

    def __init__(self, size: int):
        self._size = size
        empty = np.empty(0, dtype=np.int64)
        self._kept = Pairs(empty, empty, np.empty(0, dtype=np.float32))
        self._new: list[Pairs] = []

    def add(self, pairs: Pairs) -> None:
        """Take in pairs; memory stays at a few for each text."""
        self._new.append(pairs)
        if sum(len(new.first) for new in self._new) > 2 * self._size:
            self._fold()

    def pairs(self) -> Pairs:
        """Return its links, fewer than there are texts."""
        self._fold()
        return self._kept

    def _fold(self) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import minimum_spanning_tree

        first, second, similarity = (np.concatenate(parts) for parts in zip(self._kept, *self._new, strict=True))
        _, once = np.unique(first * self._size + second, return_index=True)
        weights = 2 - similarity[once].astype(np.float64)  # a weight of 0 would be no link
        graph = coo_array((weights, (first[once], second[once])), shape=(self._size, self._size))
        tree = minimum_spanning_tree(graph.tocsr()).tocoo()
        ends = np.stack([tree.row, tree.col]).astype(np.int64)
        self._kept = Pairs(ends.min(0), ends.max(0), (2 - tree.data).astype(np.float32))
        self._new = []


def _cut(links: Pairs, sizes: Codes, threshold: float, largest: int) -> tuple[Codes, list[tuple[Codes, float]]]:
    """Return the cluster of each text, and the texts of each that was too large with the threshold that its parts have.

    `sizes` says how many rows have each text.
    """
    first, second, similarity = links
    level, found = threshold, np.empty(0, dtype=np.int64)
    while True:
        numbers = _components(first, second, len(sizes))
        excess = np.bincount(numbers, weights=sizes)[numbers] > largest
        if not len(found):
            found = numbers
        open_ = excess[first]  # both ends of a link are in one cluster
        if not open_.any():
            break
        level = (1 + level) / 2 if level < FINEST else 1.1
        kept = ~open_ | (similarity >= level)
        first, second, similarity = first[kept], second[kept], similarity[kept]
    too_large = np.flatnonzero(np.bincount(found, weights=sizes) > largest)
    return numbers, [
        (members, _parted_at(numbers, members, links, threshold))
        for number in too_large
        for members in [np.flatnonzero(found == number)]
        if len(members) > 1
    ]


def _parted_at(numbers: Codes, members: Codes, links: Pairs, threshold: float) -> float:
    """Return the similarity above which the members of a cluster that was cut have all stayed together."""
    inside = np.isin(links.first, members)
    parted = inside & (numbers[links.first] != numbers[links.second])
    return float(links.similarity[parted].max()) if parted.any() else threshold


def _components(first: Codes, second: Codes, size: int) -> Codes:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(size, size))
    numbers: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def joined(size: int, *numberings: Sequence[object]) -> Codes:
    """Return one numbering of `size` rows in which those belong together that any of `numberings` puts together.

    A numbering has what a row belongs to, None for nothing; two rows are joined through others where need be.
    """
    rows, nodes, count = [], [], size
    for numbering in numberings:
        places: dict[object, int] = {}
        for row, name in enumerate(numbering):
            if name is not None:
                rows.append(row)
                nodes.append(places.setdefault(name, count + len(places)))
        count += len(places)
    return _components(np.array(rows, dtype=np.int64), np.array(nodes, dtype=np.int64), count)[:size]
