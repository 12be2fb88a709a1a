"""Whether the classes of rows are imbalanced, so that training has to count them equally."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

IMBALANCED = 0.75
"""Effective number of classes over their number, below which `are_imbalanced` says so."""


def are_imbalanced(classes: Sequence[Hashable]) -> bool:
    """Return whether a few classes hold so much of the rows that a model may learn to give nothing else.

    The number of equally frequent classes that are as hard to tell beforehand, the exponential of the entropy (Hill
    1973), is then below three quarters of the number of classes: of two, where one has more than 86%.
    """
    counts = Counter(classes)
    shares = [count / len(classes) for count in counts.values()]
    return math.exp(-sum(share * math.log(share) for share in shares)) < IMBALANCED * len(counts)
