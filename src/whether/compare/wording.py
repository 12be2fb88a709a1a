"""Numbers as people read them, the same in the report, the reasons and the terminal."""

from decimal import Decimal

from whether.records import METRICS, Measurement

KINDS = {"prompt": "prompt", "fine_tune": "fine-tune", "both": "both"}
"""Answer → how it reads."""

HEADLINES = {
    "prompt": "Engineer the prompt",
    "fine_tune": "Fine-tune the model",
    "both": "Do both: fine-tune and engineer the prompt",
    "no_difference": "No difference that matters: take the cheapest",
    "inconclusive": "Inconclusive: the data cannot tell yet",
}

NAMES = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "macro_f1": "macro-F1",
    "valid_rate": "valid outputs",
    "input_tokens": "input tokens",
    "computed_tokens": "computed tokens",
    "output_tokens": "output tokens",
    "retrieval_recall": "retrieval recall",
    "sensitivity_spread": "spread over formats",
    "sensitivity_worst": "worst format",
    "sensitivity_deviation": "deviation over formats",
    "consistency": "samples agree",
    "majority_score": "majority of samples",
    "answer_entropy": "entropy of samples",
    "repeatability": "repeatability",
    "seconds_per_request": "time in a batch",
    "latency_p50": "latency p50",
    "latency_p95": "latency p95",
    "usd_per_1k": "USD per 1,000",
    "usd_per_month": "USD per month",
    "usd_to_build": "USD to build",
    "usd_to_retrain": "USD to retrain",
    "seconds_to_build": "time to build",
    "labels_to_build": "labels to build",
    "changed_outputs": "answers changed",
    "retention": "retention",
    "retention_change": "retention change",
    "flexibility": "another task",
    "unseen_labels": "unseen labels",
    "perplexity": "perplexity",
    "tokens_per_second": "tokens/s",
    "peak_memory": "peak memory",
    "disk": "disk",
}
"""Metric → how it reads."""

NOT_MEASURED = "not measured"


def value(metric: str, number: float | None) -> str:
    """Return a metric's value with its unit, rounded to what a reader can use."""
    if number is None:
        return NOT_MEASURED
    if metric == "retention_change":
        return points(number)
    return _UNITS.get(METRICS[metric].unit, plain)(number)


def plain(number: float) -> str:
    """Return three significant digits, or all digits before the point."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def interval(metric: str, measured: Measurement) -> str:
    """Return "low to high", or nothing where there is no interval."""
    if measured.ci_low is None or measured.ci_high is None:
        return ""
    return f"{value(metric, measured.ci_low)} to {value(metric, measured.ci_high)}"


def compact_interval(metric: str, measured: Measurement) -> str:
    """Return an interval for a table cell: the unit once, for it stands above in the value too."""
    return interval(metric, measured).replace("% to", " to").replace(" points", "")


def percent(fraction: float) -> str:
    """Return 0.9327 as "93.3%"."""
    return f"{100 * fraction:.1f}%"


def points(difference: float) -> str:
    """Return a difference of fractions, -0.0312, as "-3.1 points" (percentage points) with a true minus sign."""
    return f"{signed(difference)} points"


def signed(difference: float) -> str:
    """Return -0.0312 as "−3.1": percentage points with their sign."""
    rounded = round(100 * difference, 1) or 0.0
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def usd(amount: float) -> str:
    """Return dollars with two decimals, or with two significant digits where cents would hide the number."""
    if amount == 0 or abs(amount) >= 0.1:
        return f"${amount:,.2f}"
    return f"${Decimal(f'{amount:.2g}'):f}"


def signed_usd(amount: float) -> str:
    """Return dollars with a true minus sign where they are less than none."""
    return usd(amount) if amount >= 0 else f"−{usd(-amount)}"


def seconds(duration: float) -> str:
    """Return a duration in ms, s, min or h."""
    if duration < 1:
        return f"{1000 * duration:.3g} ms"
    if duration < 120:
        return f"{duration:.3g} s"
    return f"{duration / 60:.3g} min" if duration < 7200 else f"{duration / 3600:.3g} h"


def flops(operations: float) -> str:
    """Return floating-point operations in TFLOP or PFLOP."""
    tera = operations / 1e12
    return f"{tera:.3g} TFLOP" if tera < 1000 else f"{tera / 1000:.3g} PFLOP"


def energy(joules: float) -> str:
    """Return an energy in J, kJ or kWh."""
    if joules < 1000:
        return f"{joules:.3g} J"
    return f"{joules / 1000:.3g} kJ" if joules < 3.6e5 else f"{joules / 3.6e6:.3g} kWh"


def size(count: float) -> str:
    """Return bytes in binary units."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


_UNITS = {"fraction": percent, "USD": usd, "seconds": seconds, "bytes": size}


def p_value(p: float) -> str:
    """Return "p = 0.012" or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.995 else "p = 1"


def listing(names: list[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
