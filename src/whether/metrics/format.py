"""Numbers as people read them, the same in the report, the reasons and the terminal."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from whether.metrics.catalogue import METRICS
from whether.records import Measurement, MetricInfo

NOT_MEASURED = "not measured"


def format_value(metric: str, number: float | None, metrics: Mapping[str, MetricInfo] = METRICS) -> str:
    """Return a metric's value with its unit, rounded to what a reader can use. `metrics` say how metrics read."""
    return format_number(metrics[metric], number)


def format_number(info: MetricInfo, number: float | None) -> str:
    """Return a value of the metric that `info` is about, with its unit, rounded to what a reader can use."""
    if number is None:
        return NOT_MEASURED
    return format_points(number) if info.is_change else UNITS.get(info.unit, significant)(number)


def significant(number: float) -> str:
    """Return three significant digits, or all digits before the point."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def format_interval(metric: str, measured: Measurement, metrics: Mapping[str, MetricInfo] = METRICS) -> str:
    """Return "low to high", or nothing where there is no interval."""
    return format_bounds(metrics[metric], measured)


def format_bounds(info: MetricInfo, measured: Measurement) -> str:
    """Return "low to high" of the metric that `info` is about, or nothing where there is no interval."""
    if measured.ci_low is None or measured.ci_high is None:
        return ""
    return f"{format_number(info, measured.ci_low)} to {format_number(info, measured.ci_high)}"


def compact_interval(metric: str, measured: Measurement, metrics: Mapping[str, MetricInfo] = METRICS) -> str:
    """Return an interval for a table cell: the unit once, since the value above has it too."""
    return format_interval(metric, measured, metrics).replace("% to", " to").replace(" points", "")


def format_percent(fraction: float) -> str:
    """Return 0.9327 as "93.3%"."""
    return f"{100 * fraction:.1f}%"


def format_points(difference: float) -> str:
    """Return a difference of fractions, -0.0312, as "-3.1 points" (percentage points) with a true minus sign."""
    return f"{format_signed(difference)} points"


def format_signed(difference: float) -> str:
    """Return -0.0312 as "−3.1": percentage points with their sign."""
    rounded = round(100 * difference, 1) or 0.0
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def format_usd(amount: float) -> str:
    """Return dollars with two decimals, or with two significant digits where cents would hide the number."""
    if amount == 0 or abs(amount) >= 0.1:
        return f"${amount:,.2f}"
    return f"${Decimal(f'{amount:.2g}'):f}"


def format_signed_usd(amount: float) -> str:
    """Return dollars with a true minus sign where they are less than none."""
    return format_usd(amount) if amount >= 0 else f"−{format_usd(-amount)}"


def format_seconds(duration: float) -> str:
    """Return a duration in ms, s, min or h."""
    if duration < 1:
        return f"{1000 * duration:.3g} ms"
    if duration < 120:
        return f"{duration:.3g} s"
    return f"{duration / 60:.3g} min" if duration < 7200 else f"{duration / 3600:.3g} h"


def format_flops(operations: float) -> str:
    """Return floating-point operations in TFLOP or PFLOP."""
    tera = operations / 1e12
    return f"{tera:.3g} TFLOP" if tera < 1000 else f"{tera / 1000:.3g} PFLOP"


def format_energy(joules: float) -> str:
    """Return an energy in J, kJ or kWh."""
    if joules < 1000:
        return f"{joules:.3g} J"
    return f"{joules / 1000:.3g} kJ" if joules < 3.6e5 else f"{joules / 3.6e6:.3g} kWh"


def format_bytes(count: float) -> str:
    """Return bytes in binary units."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


UNITS: dict[str, Callable[[float], str]] = {
    "fraction": format_percent, "USD": format_usd, "seconds": format_seconds, "bytes": format_bytes,
    **dict.fromkeys(("number", "bits", "examples", "per token", "tokens/request", "tokens/second"), significant),
}  # fmt: skip
"""Unit of a metric → how its values read. `number` is any other unit, which is not shown."""


def format_p_value(p: float) -> str:
    """Return "p = 0.012" or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.995 else "p = 1"


def join_names(names: list[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
