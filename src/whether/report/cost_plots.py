"""Pictures of cost: what the compared arms cost at any volume, and what moves the difference between two of them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from whether.metrics.format import format_signed_usd, format_usd
from whether.records import BreakEven, Verdict

_REACH = 30
"""Volumes are drawn to this factor around the policy's and each crossing."""


def plot_cost_volume(axes: Any, verdict: Verdict, colours: Mapping[str, str]) -> None:
    """Draw monthly cost against volume for each representative; crossings are ringed, the policy's volume dotted.

    A thin line through a crossing is its interval.
    """
    volume = verdict.policy["monthly_requests"]
    crossings = {row.arm: row for row in verdict.break_even if row.requests_per_month is not None}
    marked = [volume, *(row.requests_per_month or volume for row in crossings.values())]
    volumes = np.geomspace(min(marked) / _REACH, max(marked) * _REACH, 200)
    for kind, name in verdict.representatives.items():
        fixed, running = _line(verdict, name)
        axes.plot(volumes, fixed + running * volumes / 1000, color=colours[kind], linewidth=1.8, label=name)
    for name, row in crossings.items():
        fixed, running = _line(verdict, name)
        place = row.requests_per_month or volume
        height = fixed + running * place / 1000
        axes.plot(place, height, "o", markersize=11, markerfacecolor="none", color=colours["ink"])
        if row.ci_low is not None:
            axes.plot([row.ci_low, row.ci_high or volumes[-1]], [height] * 2, color=colours["ink"], linewidth=1)
    axes.axvline(volume, color=colours["muted"], linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlim=(volumes[0], volumes[-1]))
    axes.set(xlabel="requests a month", ylabel="cost a month")
    low, high = axes.get_ylim()
    steps = (1, 2, 5) if high < 100 * low else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in decades for step in steps]
    axes.set_yticks([tick for tick in ticks if low <= tick <= high], minor=False)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(lambda tick, _: format_usd(tick))
    axes.xaxis.set_major_formatter(lambda tick, _: _short(tick))
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    axes.figure.set_size_inches(axes.figure.get_figwidth(), 3.2)


def shown_break_even(verdict: Verdict) -> BreakEven:
    """Return the comparison whose drivers are drawn: of the recommended arm, else of the first tuned one."""
    return next((row for row in verdict.break_even if row.arm == verdict.recommended_arm), verdict.break_even[0])


def plot_cost_drivers(axes: Any, found: BreakEven, colours: Mapping[str, str], tuned: str) -> None:
    """Draw a tornado: for each quantity the difference a month at half and at twice of it, around the one as it is.

    Left of zero the tuned arm is the cheaper one. `tuned` is its kind, for the colour.
    """
    drivers, centre = found.drivers[::-1], found.usd_per_month or 0.0
    for place, driver in enumerate(drivers):
        for value, mark in ((driver.usd_half, "½"), (driver.usd_double, "2×")):
            colour = colours[tuned if value < 0 else "prompt"]
            axes.barh(place, value - centre, left=centre, height=0.55, color=colour, linewidth=0)
            if abs(value - centre) > 1e-9:
                axes.annotate(mark, (value, place), (4 if value > centre else -4, 0), textcoords="offset points",
                              ha="left" if value > centre else "right", va="center", fontsize=8)  # fmt: skip
    axes.axvline(centre, color=colours["ink"], linewidth=1)
    axes.axvline(0, color=colours["muted"], linestyle=":", linewidth=1)
    axes.set_yticks(range(len(drivers)), [driver.name for driver in drivers])
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(_few_ticks())
    axes.xaxis.set_major_formatter(lambda tick, _: format_signed_usd(tick))
    axes.set(xlabel="cost a month, tuned minus prompt")
    axes.figure.set_size_inches(axes.figure.get_figwidth(), 0.9 + 0.3 * len(drivers))


def _short(number: float) -> str:
    """Return 100000 as "100k" and 2000000 as "2M"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _line(verdict: Verdict, arm: str) -> tuple[float, float]:
    """Return what an arm costs a month without a request, and per 1,000 requests."""
    metrics = verdict.arms[arm].metrics
    month, running = metrics["usd_per_month"].value or 0.0, metrics["usd_per_1k"].value or 0.0
    return month - running * verdict.policy["monthly_requests"] / 1000, running
