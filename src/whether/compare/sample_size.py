"""How many more labelled test examples would settle an inconclusive verdict: the rest of the study, simulated.

What has been seen leaves a range of truths. For each of many truths drawn from it, m more examples are drawn, and the
decision is taken again on all of them; the advice is the smallest m at which enough of these continuations end with an
answer. Taking the observed differences for the truth instead asks for too few: studies are inconclusive because their
truth is near a boundary, and the observed difference is farther from it than that as often as not. This is the
assurance of a sample size (O'Hagan, Stevens and Campbell 2005, Pharmaceutical Statistics 4), with the normal
approximation of paired differences.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from whether.compare.decide import ArmSummary, Status, cheapest_acceptable
from whether.config import PolicyConfig
from whether.stats.intervals import Floats, PairedDifference
from whether.stats.simultaneous import covariance_root, per_comparison_alpha

POWER = 0.8
"""Chance that the further labels which a verdict asks for settle it, as benchmarks/calibration.py measures."""

_AIM = 0.87
"""Chance by the simulation, which is too sure: its tests are normal, and it takes any truth for likely."""

MAX_LABELS = 100_000
"""Labels beyond which the advice is not to label on."""

_CHOICES = [*range(1, 10), *(digits * 10**power for power in range(4) for digits in range(10, 100)), MAX_LABELS]
"""The numbers of labels to choose from: two digits say as much as is known."""

_CONTINUATIONS = 4_000

_STATUSES: tuple[Status, ...] = get_args(Status)
_ACCEPTABLE, _REJECTED, _UNDECIDED = range(len(_STATUSES))


def labels_needed(
    blocking: Sequence[str], arms: Sequence[ArmSummary], differences: Mapping[tuple[str, str], PairedDifference],
    policy: PolicyConfig, seed: int,
) -> int | None:  # fmt: skip
    """Return about how many more test labels settle the answer with a chance of `POWER`.

    None if nothing blocks it, and if `MOST` labels would not settle it: then the margin is too small for these arms.

    Args:
        blocking: The undecided arms that stand in the way of an answer.
        arms: The representatives.
        differences: Of every pair of them, on the same examples.
        policy: Margin and alpha.
        seed: Of the continuations.
    """
    if not blocking:
        return None
    pairs, rows = list(differences), list(differences.values())
    present = rows[0].n
    observed = np.array([row.difference for row in rows])
    deviation, run_error = (np.array([getattr(row, key) for row in rows]) for key in ("deviation", "run_error"))
    root = covariance_root(pairs, deviation)
    bound = norm.isf(per_comparison_alpha(pairs, np.hypot(deviation / math.sqrt(present), run_error), policy.alpha) / 2)
    rng = np.random.default_rng(seed)
    scale = _scale(present * deviation.min() ** 2, deviation.max(), rng)[:, None]
    truth, noise = (scale * (rng.standard_normal((_CONTINUATIONS, len(pairs))) @ root) for _ in range(2))
    truth = observed + truth / math.sqrt(present)
    settles = _settles(arms, policy)

    def chance(labels: int) -> float:
        total = present + labels
        combined = (present * observed + labels * truth + math.sqrt(labels) * noise) / total
        # What training runs leave open stays: further examples say nothing of another run.
        error = np.hypot(scale * deviation / math.sqrt(total), run_error)
        status = _statuses(combined, bound * error, pairs, [arm.name for arm in arms], policy)
        return float(settles[tuple(status.T)].mean())

    index = bisect_left(_CHOICES, _AIM, key=chance)
    return _CHOICES[index] if index < len(_CHOICES) else None


def needs_more_runs(
    blocking: Sequence[str], arms: Sequence[ArmSummary], differences: Mapping[tuple[str, str], PairedDifference],
    policy: PolicyConfig, seed: int,
) -> bool:  # fmt: skip
    """Return whether it is the training runs that no number of labels settles; arguments as for `further_labels`."""
    if not any(row.run_error for row in differences.values()):
        return False
    of_examples = {pair: row._replace(run_error=0.0) for pair, row in differences.items()}
    return labels_needed(blocking, arms, of_examples, policy, seed) is not None


def _scale(discordant: float, deviation: float, rng: np.random.Generator) -> Floats:
    """Return for each continuation what the deviations are multiplied by: they were estimated too.

    The variance is known as well as from `discordant` normal values, since examples on which arms agree tell little
    of it; a difference of scores in [0, 1] has at most the deviation 1.
    """
    freedom = max(1.0, discordant)
    scale: Floats = np.sqrt(freedom / rng.chisquare(freedom, _CONTINUATIONS))
    return np.minimum(scale, 1 / deviation)


def _statuses(
    differences: Floats, half: Floats, pairs: Sequence[tuple[str, str]], names: Sequence[str], policy: PolicyConfig
) -> NDArray[Any]:
    """Return the place in `Status` of each arm in each continuation, shape (continuations, arms); as `decide` has it.

    `differences` and half of their intervals have shape (continuations, pairs).
    """
    result = np.empty((len(differences), len(names)), dtype=np.int64)
    for column, name in enumerate(names):
        ours = [index for index, pair in enumerate(pairs) if name in pair]
        ahead = differences[:, ours] * [1 if pairs[index][1] == name else -1 for index in ours]
        acceptable = (ahead + half[:, ours] < policy.margin).all(1)
        worse = (ahead - half[:, ours] > 0).any(1)
        result[:, column] = np.where(acceptable, _ACCEPTABLE, np.where(worse, _REJECTED, _UNDECIDED))
    return result


def _settles(arms: Sequence[ArmSummary], policy: PolicyConfig) -> NDArray[Any]:
    """Return whether there is an answer for each combination of the arms' statuses, shape (3,) * arms."""
    settles = np.empty((len(_STATUSES),) * len(arms), dtype=bool)
    for places in product(range(len(_STATUSES)), repeat=len(arms)):
        status = {arm.name: _STATUSES[place] for arm, place in zip(arms, places, strict=True)}
        chosen, blocking = cheapest_acceptable(status, arms, policy)
        settles[places] = chosen is not None and not blocking
    return settles
