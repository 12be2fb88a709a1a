"""Evidence that is looked at every night, with one bound on false alarms for all nights together.

A test at 5% that is repeated nightly raises a false alarm within weeks. Here each night multiplies a wealth by a factor
whose expectation is at most 1 as long as nothing has changed, so that the wealth ever reaches 1 / alpha with
probability alpha at most (Ville 1939), however many nights there are. A change may come late, after the wealth of early
bets has melted away; so a share of it is kept to begin with on each night (a mixture over the night of the change, as
Shiryaev's; Shin, Ramdas and Rinaldo 2022 discuss such e-detectors).

Sources: V. Vovk, Testing randomness online, Statistical Science 36 (2021); I. Waudby-Smith and A. Ramdas, Estimating
means of bounded random variables by betting, JRSS B 86 (2024).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CHANGE_RATE = 0.01
"""A change on any one night, as the first half of the stakes expects it."""
EXPONENTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Of bets on p-values: small ones for a change that is plain, large ones for one that hardly shows."""
RISKS = (0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 0.9)
"""Shares of the wealth that a bet on a mean may lose, small ones for a small drop."""


def prior_weight(night: int) -> float:
    """Return the share of the first wealth that begins on a night, from 1; all nights together have the whole.

    Half of it is spread over about the first hundred nights, half thins out slowly, so that no change comes too late.
    """
    return 0.5 * CHANGE_RATE * (1 - CHANGE_RATE) ** (night - 1) + 0.5 / (night * (night + 1))


def wealth(factors: Iterable[float]) -> float:
    """Return the wealth after some nights, from each night's factor in order."""
    under_way, kept = 0.0, 1.0
    for night, factor in enumerate(factors, 1):
        kept -= prior_weight(night)
        under_way = (under_way + prior_weight(night)) * factor
    return under_way + max(kept, 0.0)


def p_value_e_process(p_values: Sequence[float]) -> float:
    """Return the wealth after bets on small p-values, an equal mixture over exponents.

    For p-values that are uniform and independent of earlier ones it is a martingale that begins with 1.
    """
    return float(np.mean([wealth(p_factor(p, exponent) for p in p_values) for exponent in EXPONENTS]))


def p_factor(p_value: float, exponent: float) -> float:
    """Return what a bet makes of a p-value: ε p^(ε - 1), whose expectation is 1 for a uniform one."""
    return float(exponent * max(p_value, 1e-12) ** (exponent - 1))


def mean_e_process(nights: Sequence[Floats], least: float) -> float:
    """Return the wealth after bets against "the mean is `least` or more", an equal mixture over what they risk.

    Args:
        nights: The scores of each night that had any, in [0, 1].
        least: In [0, 1).
    """
    if least <= 0:
        return 1.0
    return float(np.mean([wealth(mean_factor(scores, least, risk) for scores in nights) for risk in RISKS]))


def mean_factor(scores: Floats, least: float, risk: float) -> float:
    """Return ∏ (1 + risk (least - score) / (1 - least)): of expectation 1 at most if the mean is `least` or more."""
    logs = np.log1p(risk * (least - scores) / max(1 - least, 1e-9))
    return float(np.exp(min(float(logs.sum()), 600.0)))


def change_point(p_values: Sequence[float]) -> int:
    """Return the place from which on p-values are smallest together: where a change most likely was."""
    logs = np.log([p_factor(p, 0.3) for p in p_values])
    return int(np.argmax(np.cumsum(logs[::-1])[::-1]))
