"""Evidence that is tested repeatedly, with one bound on false alarms for all times together.

A test at 5% that is repeated every day raises a false alarm within weeks. Here each time step multiplies a wealth by a
factor whose expectation is at most 1 as long as nothing has changed, so that the wealth ever reaches 1 / alpha with
probability alpha at most (Ville 1939), however many steps there are. A change may come late, after early bets have lost
their wealth; so a share of it is reserved for bets that begin at each step (a mixture over the time of the change, as
Shiryaev's; Shin, Ramdas and Rinaldo 2022 discuss such e-detectors).

Sources: V. Vovk, Testing randomness online, Statistical Science 36 (2021); I. Waudby-Smith and A. Ramdas, Estimating
means of bounded random variables by betting, JRSS B 86 (2024).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CHANGE_RATE = 0.01
"""Probability of a change at any one step, as the first half of the prior weights expects it."""
EXPONENTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Of bets on p-values: small ones for a strong change, large ones for a weak one."""
RISKS = (0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 0.9)
"""Shares of the wealth that a bet on a mean may lose, small ones for a small drop."""


def prior_weight(step: int) -> float:
    """Return the share of the initial wealth whose bets begin at a step, from 1; over all steps the shares sum to 1.

    Half of it is spread over about the first hundred steps, half decreases slowly, so that no change comes too late.
    """
    return 0.5 * CHANGE_RATE * (1 - CHANGE_RATE) ** (step - 1) + 0.5 / (step * (step + 1))


def wealth(factors: Iterable[float]) -> float:
    """Return the wealth after some steps, from each step's factor in order."""
    invested, reserved = 0.0, 1.0
    for step, factor in enumerate(factors, 1):
        reserved -= prior_weight(step)
        invested = (invested + prior_weight(step)) * factor
    return invested + max(reserved, 0.0)


def p_value_e_process(p_values: Sequence[float]) -> float:
    """Return the wealth after bets on small p-values, an equal mixture over exponents.

    For p-values that are uniform and independent of earlier ones it is a martingale that starts at 1.
    """
    return float(np.mean([wealth(p_factor(p, exponent) for p in p_values) for exponent in EXPONENTS]))


def p_factor(p_value: float, exponent: float) -> float:
    """Return the factor of a bet on a p-value: ε p^(ε - 1), whose expectation is 1 for a uniform one."""
    return float(exponent * max(p_value, 1e-12) ** (exponent - 1))


def mean_e_process(batches: Sequence[Floats], lower_mean: float) -> float:
    """Return the wealth after bets against "the mean is `lower_mean` or more", an equal mixture over their risks.

    Args:
        batches: The scores of each step that had any, in [0, 1].
        lower_mean: In [0, 1).
    """
    if lower_mean <= 0:
        return 1.0
    return float(np.mean([wealth(mean_factor(scores, lower_mean, risk) for scores in batches) for risk in RISKS]))


def mean_factor(scores: Floats, lower_mean: float, risk: float) -> float:
    """Return ∏ (1 + risk (lower_mean - score) / (1 - lower_mean)).

    Its expectation is 1 at most if the mean is `lower_mean` or more.
    """
    logs = np.log1p(risk * (lower_mean - scores) / max(1 - lower_mean, 1e-9))
    return float(np.exp(min(float(logs.sum()), 600.0)))


def change_point(p_values: Sequence[float]) -> int:
    """Return the index from which on p-values are jointly smallest: where a change most likely was."""
    logs = np.log([p_factor(p, 0.3) for p in p_values])
    return int(np.argmax(np.cumsum(logs[::-1])[::-1]))
