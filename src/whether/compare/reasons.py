"""Why the answer is what it is, in sentences with their numbers; the most important first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from whether.compare.decide import APPROACHES, ArmSummary, Decision, Selection, comparisons_with, too_few_runs
from whether.compare.sample_size import MAX_LABELS, POWER
from whether.config import PolicyConfig
from whether.metrics.format import (
    format_bounds,
    format_number,
    format_p_value,
    format_points,
    format_signed,
    format_usd,
    join_names,
)
from whether.records import APPROACH_NAMES, Comparison, Measurement, MetricInfo, RacedArm
from whether.stats.simultaneous import TRUE_DIFFERENCE


class SeedVariation(NamedTuple):
    """How much a tuned checkpoint's quality varies from one training run to another."""

    checkpoint: str
    seeds: int
    labels: int
    """Training examples of these runs."""
    deviation: float
    is_in_intervals: bool = False
    """Whether these are runs of the arm itself, whose variation the verdict's intervals hold."""


def reasons(
    decision: Decision,
    selection: Selection,
    family: Sequence[Comparison],
    *,
    quality: Mapping[str, Measurement],
    baseline: float,
    further: int | None,
    metric: MetricInfo,
    policy: PolicyConfig,
    retention_change: Measurement | None = None,
    truncated: int = 0,
    seeds: SeedVariation | None = None,
    needs_runs: bool = False,
) -> list[str]:
    """Return the reasons for a decision.

    `quality` is each arm's primary metric on test; `retention_change` what tuning did to the chosen arm's general
    ability, None for an arm that is not tuned; `truncated` how many requests of that suite were cut; `seeds` how much
    its training varies, where that is known; `needs_runs` whether no number of labels would settle it
    for want of training runs.
    """
    arms = {candidate.name: candidate for candidate in selection.representatives.values()}
    if decision.recommended is None:
        return ["No arm keeps the hard constraints of the policy.", *selection.excluded.values()]
    # 1. What is recommended, and what the decision rests on.
    chosen = decision.recommended
    sentences = [_headline(decision, quality[chosen], metric)]
    if decision.outcome == "floor":
        sentences.append(_below_baseline_sentence(quality[chosen], baseline, metric))
    elif decision.outcome == "equivalent":
        sentences.append(
            f"Every pair of the compared arms is shown to differ by less than the margin of {_margin(policy)}, in both"
            f" directions; {chosen} is the cheapest of them."
        )
    elif decision.outcome == "only":
        sentences.append(_single_arm_sentence(arms[chosen], selection))
    elif decision.outcome == "runs":
        sentences.append(_runs(arms.values(), policy))
    # 2. How it stands against the other arms, or what is missing to say that.
    if decision.outcome == "undecided":
        sentences += [_undecided_sentence(name, family, decision, policy) for name in decision.blocking]
        sentences.append(_more_runs(arms.values()) if needs_runs else _further(further, policy))
    elif decision.outcome != "floor":
        sentences += _differences(chosen, family, decision, policy)
        open_baselines = [
            name for name, arm in arms.items() if arm.kind == "neither" and decision.status[name] == "undecided"
        ]
        sentences += [_perhaps_no_language_model(name, family, policy) for name in open_baselines]
    if arms[chosen].kind == "neither" and decision.answer != "inconclusive":
        sentences.insert(1, _no_language_model(chosen, arms, policy))
    # 3. What else counts in the choice: costs, general ability, chance in training, arms that were left out.
    if len(arms) > 1:
        sentences.append(_costs(chosen, arms, policy))
    if retention_change is not None and retention_change.value is not None:
        sentences.append(_general_ability(chosen, retention_change, truncated))
    if seeds is not None:
        sentences.append(_seeds(seeds, metric))
    sentences += selection.excluded.values()
    return sentences


def collapsed_sentences(found: Mapping[str, tuple[str, float] | None], retried: Iterable[str] = ()) -> list[str]:
    """Return a sentence for each tuned arm that gives one answer to nearly everything.

    `retried` are the arms whose checkpoint was already tuned once more for that reason, and no better.
    """
    advice = {
        False: "Tune with tuner.balanced=true and a third of tuner.learning_rate, or label more examples with other"
        " answers.",
        True: "Tuning it once more, every label drawn equally often and with a third of the learning rate, did no"
        " better: label more examples with other answers.",
    }
    tried = set(retried)
    return [
        f"{name} has collapsed: it gives one answer, {answer[0]}, to {answer[1]:.0%} of the test examples."
        f" {advice[name in tried]}"
        for name, answer in found.items()
        if answer
    ]


def raced_sentences(raced: Mapping[str, RacedArm]) -> list[str]:
    """Return a sentence for each arm that was not asked for test."""
    return [
        f"{name} was not asked for test, which costs money: on the {found.n:,} examples of dev it is worse than"
        f" {found.better} by {_points(found.difference, found.ci_low, found.ci_high)}, so it could not have stood for"
        " its kind (policy.racing)."
        for name, found in raced.items()
    ]


def _headline(decision: Decision, measured: Measurement, metric: MetricInfo) -> str:
    lead = "Best guess so far" if decision.answer == "inconclusive" else "Recommended"
    return (
        f"{lead}: {decision.recommended}, with {metric.label} {format_number(metric, measured.value)}"
        f" (interval {format_bounds(metric, measured)}) on {measured.n:,} test examples."
    )


def _further(labels: int | None, policy: PolicyConfig) -> str:
    if labels is None:
        return (
            f"Even {MAX_LABELS:,} more labelled test examples are not likely to settle it: the arms are too close for"
            f" a margin of {_margin(policy)}. Widen it (policy.margin), or choose by other aspects."
        )
    return (
        f"About {labels:,} more labelled test examples would settle it with {POWER:.0%} chance, by a simulation of"
        " what these results leave open."
    )


def _runs(arms: Iterable[ArmSummary], policy: PolicyConfig) -> str:
    """Say that the policy asks for more training runs than there are."""
    said = join_names([f"{arm.name} {_times_sentence(arm.runs or 0)}" for arm in too_few_runs(arms, policy)])
    return (
        f"The data would give an answer, but about these training runs; others could say otherwise. The policy asks for"
        f" {policy.training_runs} runs, and trained was {said}: set"
        f" training_runs={max(3, policy.training_runs)}."
    )


def _times_sentence(runs: int) -> str:
    return "once" if runs == 1 else f"{runs} times"


def _more_runs(arms: Iterable[ArmSummary]) -> str:
    """Say that further labels do not help and further training runs do."""
    runs = max(arm.runs or 1 for arm in arms)
    return (
        f"No number of further labelled examples would settle it while {runs} training runs differ as much as they do:"
        f" train more often (training_runs={2 * runs})."
    )


def _seeds(seeds: SeedVariation, metric: MetricInfo) -> str:
    """Say how far training runs differ, and whether the intervals know it."""
    deviation = f"a standard deviation of {100 * seeds.deviation:.1f} points"
    spread = f"the {metric.label} of {seeds.checkpoint} had {deviation}"
    if seeds.is_in_intervals:
        return f"Training varies too: over {seeds.seeds} runs {spread}. The intervals here hold that."
    return (
        f"Training varies too: over {seeds.seeds} seeds with {seeds.labels:,} labels {spread}. The intervals here are"
        " of one training run and do not hold that; with training_runs=3 they would."
    )


def _below_baseline_sentence(measured: Measurement, baseline: float, metric: MetricInfo) -> str:
    return (
        f"None of the arms has learnt the task: always giving the most frequent answer has {metric.label}"
        f" {format_number(metric, baseline)}, and the best arm on dev is not shown to be above that (its interval"
        f" starts at {format_number(metric, measured.ci_low)})."
    )


def _single_arm_sentence(arm: ArmSummary, selection: Selection) -> str:
    others = [APPROACH_NAMES[kind] for kind in APPROACHES if kind != arm.kind]
    why = "kept the constraints" if selection.excluded else "was measured"
    return (
        f"Nothing else {why}: there is no arm of the kinds {join_names(others)} to compare it with, so this says that"
        f" {APPROACH_NAMES[arm.kind]} works, not that it is better than the alternatives."
    )


def _differences(chosen: str, family: Sequence[Comparison], decision: Decision, policy: PolicyConfig) -> list[str]:
    """One sentence for each arm that the chosen one is compared with."""
    sentences = []
    for other, difference, low, high, row in comparisons_with(chosen, family):
        numbers = f"{_points(-difference, -high, -low)}, adjusted {format_p_value(row.p_adjusted)}"
        if decision.status[other] == "rejected":
            sentences.append(_rejected(other, family))
        elif row.conclusion == "equivalent":
            sentences.append(f"{chosen} and {other} differ by less than the margin of {_margin(policy)}: {numbers}.")
        else:
            place = "ahead of" if difference < 0 else "behind" if difference > 0 else "level with"
            sentences.append(
                f"{chosen} is {place} {other}: {numbers}. That shows that {chosen} is not worse by the margin of"
                f" {_margin(policy)}, and proves no difference{_power(row)}."
            )
    return sentences


def _rejected(name: str, family: Sequence[Comparison]) -> str:
    """Say which arm beats a rejected one most surely."""
    better = [row for row in comparisons_with(name, family) if row[2] > 0]
    other, difference, low, high, row = min(better, key=lambda item: (item[4].p_adjusted, -item[1]))
    return (
        f"{name} is worse than {other}: {_points(-difference, -high, -low)}, adjusted {format_p_value(row.p_adjusted)}."
    )


def _undecided_sentence(name: str, family: Sequence[Comparison], decision: Decision, policy: PolicyConfig) -> str:
    other, difference, low, high, row = max(
        (row for row in comparisons_with(name, family) if row[3] >= policy.margin), key=lambda row: row[3]
    )
    cheaper = ", the cheaper one," if "acceptable" in decision.status.values() else ""
    return (
        f"{name}{cheaper} is not shown to be worse, nor to lose less than the margin of {_margin(policy)}:"
        f" against {other} the difference is {_points(-difference, -high, -low)}{_power(row)}."
    )


def _power(row: Comparison) -> str:
    """Say how likely a difference of 5 points is shown with so many examples."""
    if row.power is None:
        return ""
    return f" ({row.n:,} examples show one of {100 * TRUE_DIFFERENCE:g} points with {row.power:.0%} chance)"


def _costs(chosen: str, arms: Mapping[str, ArmSummary], policy: PolicyConfig) -> str:
    others = sorted((arm for arm in arms.values() if arm.name != chosen), key=lambda arm: arm.usd_per_month)
    rest = join_names([f"{format_usd(arm.usd_per_month)} for {arm.name}" for arm in others])
    return (
        f"At {policy.monthly_requests:,} requests a month, building spread over {policy.months} months, {chosen} costs"
        f" {format_usd(arms[chosen].usd_per_month)} a month, against {rest}."
    )


def _no_language_model(chosen: str, arms: Mapping[str, ArmSummary], policy: PolicyConfig) -> str:
    """Say that a small model is enough, and what it costs next to the best language model on dev."""
    others = [arm for arm in arms.values() if arm.name != chosen]
    if not others:
        return f"{chosen} answers without a language model."
    best = max(others, key=lambda arm: arm.dev)
    share = arms[chosen].usd_per_month / best.usd_per_month if best.usd_per_month else 1.0
    price = f" and costs 1/{round(1 / share):,} of {best.name} a month" if 0 < share <= 0.5 else ""
    return (
        f"No language model is needed: {chosen} answers without one, is shown not to be worse than any other by the"
        f" margin of {_margin(policy)}{price}."
    )


def _perhaps_no_language_model(name: str, family: Sequence[Comparison], policy: PolicyConfig) -> str:
    """Say that a baseline which is not recommended may be good enough."""
    other, _, _, high, _ = max(comparisons_with(name, family), key=lambda row: row[3])
    return (
        f"Whether a language model is needed is not settled: {name}, which answers without one, may lose up to"
        f" {100 * high:.1f} points to {other}, more than the margin of {_margin(policy)}."
    )


def _general_ability(chosen: str, change: Measurement, truncated: int) -> str:
    low, high = change.ci_low, change.ci_high
    numbers = (
        format_points(change.value or 0.0) if low is None or high is None else _points(change.value or 0.0, low, high)
    )
    cut = (
        f" {truncated:,} requests of that suite are longer than the model's context window and lost their beginnings."
        if truncated
        else ""
    )
    if high is not None and high < 0:
        return f"Tuning cost general ability: on the retention suite {chosen} changes by {numbers} against base.{cut}"
    return f"No loss of general ability is shown: on the retention suite {chosen} changes by {numbers}.{cut}"


def _margin(policy: PolicyConfig) -> str:
    return f"{100 * policy.margin:g} points"


def _points(difference: float, low: float, high: float) -> str:
    return f"{format_signed(difference)} points ({format_signed(low)} to {format_signed(high)})"
