"""Power laws of quality against number of labels, and where two of them cross.

A learning curve tends to its limit by a power of the number of examples: error = a + b · n^-c (Cortes et al. 1994;
Hestness et al. 2017; Viering and Loog 2022 survey this and other forms, and curves that follow none). Here
quality = top - (top - low) · (n / n₁)^-rate with 0 ≤ low ≤ top ≤ 1 and n₁ the smallest number measured, so that a curve
never falls and stays in [0, 1] from n₁ on. It says nothing about fewer labels than n₁.

The fit is by least squares. For a given rate the curve is linear in low and gain = top - low, and the best point of a
triangle is its inner optimum or lies on an edge; the rate is searched on a grid (variable projection, Golub and Pereyra
1973). It has no starting values and no local optima, and does thousands of resamples at once.
"""

from typing import Any, NamedTuple

import numpy as np

from whether.stats.intervals import Floats

RATES = np.geomspace(0.05, 4.0, 60)
"""From an almost logarithmic rise to one that is over at twice n₁."""
_ONLY_RATE = np.array([0.5])
"""With one or two numbers of labels nothing determines the rate: that of a mean's standard error."""
GRID = 200
"""Places, evenly spread over the logarithm of the number of labels, at which two curves are compared."""


class PowerLaws(NamedTuple):
    """Curves fitted to resamples: each field has shape (resamples,)."""

    low: Floats
    top: Floats
    rate: Floats

    def at(self, share: Floats) -> Floats:
        """Return quality, shape (resamples, places), at `share` (places,) times the smallest number of labels."""
        x: Floats = share[None, :] ** -self.rate[:, None]
        return self.top[:, None] - (self.top - self.low)[:, None] * x


def fit(labels: Floats, quality: Floats) -> PowerLaws:
    """Fit a power law to each row of `quality`, shape (resamples, levels), at `labels`, shape (levels,), rising."""
    share = labels / labels[0]
    rows = len(quality)
    best, low, top, rate = np.full(rows, np.inf), np.zeros(rows), np.zeros(rows), np.zeros(rows)
    for candidate in RATES if len(labels) > 2 else _ONLY_RATE:
        x = share**-candidate
        some_low, some_gain = _bounded_least_squares(1 - x, quality)
        error = _error(some_low, some_gain, 1 - x, quality)
        better = error < best - 1e-12
        best, rate = np.where(better, error, best), np.where(better, candidate, rate)
        low, top = np.where(better, some_low, low), np.where(better, some_low + some_gain, top)
    return PowerLaws(low, top, rate)


def _bounded_least_squares(z: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the low and gain of the best y ≈ low + gain · z for each row with 0 ≤ low, 0 ≤ gain, low + gain ≤ 1."""
    mean, x = y.mean(1), 1 - z
    nothing = np.zeros_like(mean)
    options = [(np.clip(mean, 0, 1), nothing)]
    if np.ptp(z) > 0:
        centred = z - z.mean()
        gain = y @ centred / (centred @ centred)
        low = mean - gain * z.mean()
        inside = (gain >= 0) & (low >= 0) & (low + gain <= 1)
        options.append((np.where(inside, low, np.nan), gain))
        options.append((nothing, np.clip(y @ z / (z @ z), 0, 1)))
        down = np.clip((1 - y) @ x / (x @ x), 0, 1)
        options.append((1 - down, down))
    errors = np.array([_error(low, gain, z, y) for low, gain in options])
    chosen = np.nanargmin(errors, axis=0)
    lows, gains = (np.array(column) for column in zip(*options, strict=True))
    row = np.arange(len(y))
    return lows[chosen, row], gains[chosen, row]


def _error(low: Floats, gain: Floats, z: Floats, y: Floats) -> Any:
    return ((y - low[:, None] - gain[:, None] * z[None, :]) ** 2).sum(1)


def crossings(labels: Floats, tuned: PowerLaws, prompting: PowerLaws) -> Floats:
    """Return for each pair of curves the number of labels from which on `tuned` is ahead up to the largest number.

    Shape (resamples,). -inf where it is ahead from the smallest number on, inf where it is not ahead at the largest.
    """
    places = np.linspace(0.0, np.log(labels[-1] / labels[0]), GRID if len(labels) > 1 else 1)
    ahead = tuned.at(np.exp(places)) - prompting.at(np.exp(places))
    behind = ahead <= 1e-9
    last = GRID - 1 - np.argmax(behind[:, ::-1], axis=1) if len(places) > 1 else np.zeros(len(ahead), dtype=np.int64)
    row, after = np.arange(len(ahead)), np.minimum(last + 1, len(places) - 1)
    before, then = ahead[row, last], ahead[row, after]
    part = np.divide(-before, then - before, out=np.zeros_like(before), where=then > before)
    found = labels[0] * np.exp(places[last] + part * (places[after] - places[last]))
    return np.where(~behind.any(1), -np.inf, np.where(behind[:, -1], np.inf, found))
