"""What a learning curve shows, in sentences."""

from whether.metrics.format import format_bounds, format_number, format_points, format_signed, format_usd, join_names
from whether.records import Crossover, CurveLevel, LearningCurve, MetricInfo


def curve_reasons(curve: LearningCurve, metric: MetricInfo, level: float) -> list[str]:
    """Return what was found on a curve that was measured, the crossover first; `metric` is the one on it."""
    sentences = [] if curve.crossover is None else [crossover_sentence(curve, curve.crossover, level)]
    ends = curve.levels if len(curve.levels) < 2 else [curve.levels[0], curve.levels[-1]]
    sentences += [_level_sentence(curve, metric, found) for found in ends]
    sentences += [_baseline_sentence(name, ends, metric) for name in curve.levels[-1].baselines]
    if curve.dev_labels is not None and curve.dev_usd is not None:
        sentences.append(
            f"Both ways also use the labels of {curve.dev_labels:,} examples of dev, which choose the best step and the"
            f" best prompt: {format_usd(curve.dev_usd)} on top at any number of labels."
        )
    if len(curve.seeds) == 1:
        sentences.append(
            "There is one seed: how much another draw of labels or another training run would change is not in the"
            " intervals."
        )
    for labels, reason in curve.not_measured.items():
        sentences.append(f"Not measured with {int(labels):,} labels: {reason}.")
    return sentences


def crossover_sentence(curve: LearningCurve, crossover: Crossover, level: float) -> str:
    """Return from how many labels on tuning is ahead, with the interval and the price."""
    first, last, name = curve.levels[0], curve.levels[-1], curve.checkpoint
    span = _span(crossover, first.labels, last.labels)
    if crossover.outcome == "at" and crossover.labels is not None and crossover.usd is not None:
        return (
            f"{name} overtakes the best prompt at about {crossover.labels:,} labels ({percent_level(level)} interval:"
            f" {span}), which cost {format_usd(crossover.usd)}."
        )
    where = f"{first.labels:,} labels on" if len(curve.levels) > 1 else f"{first.labels:,} labels"
    if crossover.outcome == "ahead":
        return (
            f"{name} is ahead of the best prompt {'from' if len(curve.levels) > 1 else 'with'} {where}, the smallest"
            f" number measured, which cost {format_usd(first.usd)} (crossover, {percent_level(level)} interval:"
            f" {span})."
        )
    return (
        f"{name} does not overtake the best prompt with up to {last.labels:,} labels, the largest number measured"
        f" (crossover, {percent_level(level)} interval: {span})."
    )


def _span(crossover: Crossover, first: int, last: int) -> str:
    """Return the interval in words; an end outside of what was measured has no number."""
    low, high = crossover.ci_low, crossover.ci_high
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    if high is not None:
        return f"{first:,} or fewer" if high <= first else f"{first:,} or fewer to {high:,}"
    if low is not None:
        return f"more than {last:,}" if low >= last else f"{low:,} to more than {last:,}"
    return f"{first:,} or fewer to more than {last:,}"


def _level_sentence(curve: LearningCurve, metric: MetricInfo, found: CurveLevel) -> str:
    tuned, prompting, difference = found.tuned.mean, found.prompting.mean, found.difference
    low, high = difference.ci_low, difference.ci_high
    numbers = format_points(difference.value or 0.0)
    if low is not None and high is not None:
        numbers += f" ({format_signed(low)} to {format_signed(high)})"
    return (
        f"With {found.labels:,} labels {curve.checkpoint} has {metric.label}"
        f" {format_number(metric, tuned.value)} ({format_bounds(metric, tuned)})"
        f" and the best prompt, {join_names(list(found.chosen))},"
        f" {format_number(metric, prompting.value)} ({format_bounds(metric, prompting)}): {numbers}."
    )


def _baseline_sentence(name: str, ends: list[CurveLevel], metric: MetricInfo) -> str:
    """Say what a baseline reaches with the same labels."""
    values = [f"{format_number(metric, level.baselines[name].mean.value)} with {level.labels:,}" for level in ends]
    return f"Without a language model {name} has {metric.label} {join_names(values)} of the same labels."


def percent_level(level: float) -> str:
    """Return 0.95 as "95%"."""
    return f"{100 * level:g}%"
