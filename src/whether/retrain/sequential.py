"""Evidence that is looked at every night, with one bound on false alarms for all nights together.

A test at 5% that is repeated nightly raises a false alarm within weeks. Here each night multiplies a wealth by a factor
whose expectation is at most 1 as long as nothing has changed, so that the wealth ever reaches 1 / alpha with
probability alpha at most (Ville 1939), however many nights there are. A change may come late, after the wealth of early
bets has melted away; so a share of it is kept to begin with on each night (a mixture over the night of the change, as
Shiryaev's; Shin, Ramdas and Rinaldo 2022 discuss such e-detectors).

Sources: V. Vovk, Testing randomness online, Statistical Science 36 (2021); I. Waudby-Smith and A. Ramdas, Estimating
means of bounded random variables by betting, JRSS B 86 (2024).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

USUAL = 0.01
"""A change on any one night, as the first half of the stakes expects it."""
STAKES = np.linspace(0.05, 0.95, 19)
"""Shares of what a bet on a mean may risk."""


def stake(night: int) -> float:
    """Return the share of the first wealth that begins on a night, from 1; all nights together have the whole.

    Half of it is spread over about the first hundred nights, half thins out slowly, so that no change comes too late.
    """
    return 0.5 * USUAL * (1 - USUAL) ** (night - 1) + 0.5 / (night * (night + 1))


def wealth(factors: Iterable[float]) -> float:
    """Return the wealth after some nights, from each night's factor in order."""
    under_way, kept = 0.0, 1.0
    for night, factor in enumerate(factors, 1):
        kept -= stake(night)
        under_way = (under_way + stake(night)) * factor
    return under_way + max(kept, 0.0)


def likely_change(factors: Sequence[float]) -> int:
    """Return the place from which on the product of factors is largest: where a change most likely was."""
    logs = np.log(np.maximum(factors, 1e-300))
    return int(np.argmax(np.cumsum(logs[::-1])[::-1]))


def p_factor(p_value: float) -> float:
    """Return what a bet on small p-values makes of one: ∫ ε p^(ε - 1) dε over ε in (0, 1).

    For p-values that are uniform and independent of earlier ones its expectation is 1.
    """
    p = min(max(p_value, 1e-12), 1.0)
    distance = -math.log(p)
    if distance < 1e-4:  # the limit at p = 1
        return 0.5 + distance / 3
    return (1 - p - p * distance) / (p * distance**2)


def mean_factor(scores: "NDArray[np.float64]", least: float) -> float:
    """Return what bets against "the mean is `least` or more" make of a night's scores in [0, 1]; 1 without scores.

    An equal mixture over stakes of ∏ (1 + stake (least - score) / (1 - least)): for any mean of at least `least`, given
    the nights before, its expectation is at most 1.
    """
    if not len(scores) or least <= 0:
        return 1.0
    room = max(1 - least, 1e-9)
    logs = np.log1p(STAKES[:, None] * (least - scores[None, :]) / room)
    return float(np.exp(np.minimum(logs.sum(axis=1), 700)).mean())
