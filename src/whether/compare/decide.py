"""From scores, costs and the policy to the answer. Pure: no files, no random numbers.

1. Arms that break a hard constraint are out.
2. Of each kind (prompt, fine_tune, both, neither) the arm with the best primary metric on dev stands for its kind.
3. Their paired differences on test decide, by intervals that hold for all of them together. An arm is *acceptable* if
   every other one is shown to be better by less than the margin; *rejected* if it is not acceptable and another one is
   shown to be better; else *undecided*.
4. The cheapest acceptable arm is recommended. If a cheaper arm is undecided, or none is acceptable, the answer is
   `inconclusive`; if all are shown equivalent within the margin it is `no_difference` and the cheapest is recommended.
   "Cheaper" is by more than the policy's `cost_margin`; of arms that cost the same in this sense one that needs no
   language model is taken, else the best on dev, so that noise in measured times does not change the answer.
5. An answer that the data give is `inconclusive` all the same where a representative was trained less often than the
   policy asks: it would be one about these training runs, not about tuning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from whether.config import ConstraintConfig, PolicyConfig
from whether.metrics.catalogue import METRICS
from whether.metrics.constraints import violation
from whether.records import Answer, Approach, Comparison, MetricInfo
from whether.stats.simultaneous import FamilyDifference

APPROACHES: tuple[Approach, ...] = ("prompt", "fine_tune", "both", "neither")
Status = Literal["acceptable", "rejected", "undecided"]
DecisionOutcome = Literal["cheapest", "only", "equivalent", "undecided", "floor", "none_allowed", "runs"]


@dataclass(frozen=True)
class ArmSummary:
    """An arm as the decision sees it."""

    name: str
    kind: Approach
    dev: float
    """Primary metric on dev."""
    tokens: float
    """Tokens to compute a request, shared prefix left out: breaks ties on dev, and is the same on every machine."""
    usd_per_month: float
    metrics: Mapping[str, float | None]
    """What hard constraints can limit; None where it was not measured."""
    runs: int | None = None
    """Training runs of its checkpoint; None for an arm that is not tuned."""


@dataclass(frozen=True)
class Selection:
    """Who is compared on test, chosen without looking at it."""

    representatives: dict[Approach, ArmSummary]
    excluded: dict[str, str]
    """Arm → the constraint that it breaks, as a sentence."""


@dataclass(frozen=True)
class Decision:
    """The answer and how it came about."""

    answer: Answer
    recommended: str | None
    outcome: DecisionOutcome
    status: dict[str, Status]
    """Of each representative."""
    blocking: list[str]
    """Undecided arms that stand in the way of an answer."""


def approach_of(tuned: bool, engineered: bool) -> Approach:
    """Return the answer that choosing an arm would mean."""
    return "prompt" if not tuned else "both" if engineered else "fine_tune"


def select(
    candidates: Sequence[ArmSummary], constraints: Mapping[str, ConstraintConfig | None],
    metrics: Mapping[str, MetricInfo] = METRICS,
) -> Selection:  # fmt: skip
    """Return the best arm of each kind on dev among those that keep the constraints (ties: fewer tokens).

    `metrics` say how those that constraints limit read.
    """
    broken = {candidate.name: _violated_constraints(candidate, constraints, metrics) for candidate in candidates}
    allowed = [candidate for candidate in candidates if not broken[candidate.name]]
    chosen = {}
    for kind in APPROACHES:
        of_kind = [candidate for candidate in allowed if candidate.kind == kind]
        if of_kind:
            chosen[kind] = min(of_kind, key=lambda candidate: (-candidate.dev, candidate.tokens))
    return Selection(chosen, {name: "; ".join(reasons) + "." for name, reasons in broken.items() if reasons})


def _violated_constraints(
    candidate: ArmSummary, constraints: Mapping[str, ConstraintConfig | None], metrics: Mapping[str, MetricInfo]
) -> list[str]:
    """Return a clause for each constraint that an arm breaks, or that cannot be checked because it was not measured."""
    clauses = [
        violation(candidate.name, metric, constraint, candidate.metrics.get(metric), metrics)
        for metric, constraint in constraints.items()
        if constraint
    ]
    return [clause for clause in clauses if clause]


def conclude(found: FamilyDifference, policy: PolicyConfig) -> str:
    """Return what a paired difference (a minus b) shows; keys as in `Comparison.conclusion`.

    Of the decision's family the interval says it all. In another one, whose intervals are each by itself, a claim that
    one is better needs the adjusted p-value, too. A difference that is shown to be smaller than the margin both ways is
    `equivalent`, even if it is not zero.
    """
    low, high = found.interval
    if -policy.margin < low and high < policy.margin:
        return "equivalent"
    if found.p_adjusted < policy.alpha and low > 0:
        return "a_better"
    if found.p_adjusted < policy.alpha and high < 0:
        return "b_better"
    if low > -policy.margin:
        return "a_not_worse"
    return "b_not_worse" if high < policy.margin else "inconclusive"


def comparisons(
    differences: Mapping[tuple[str, str], FamilyDifference],
    metric: str,
    family: Literal["decision", "exploratory"],
    policy: PolicyConfig,
) -> list[Comparison]:
    """Return the comparisons of a family."""
    return [
        Comparison(
            arm_a=a,
            arm_b=b,
            metric=metric,
            difference=found.estimate.difference,
            ci_low=found.interval.low,
            ci_high=found.interval.high,
            p_value=found.estimate.p_value,
            p_adjusted=found.p_adjusted,
            n=found.estimate.n,
            conclusion=conclude(found, policy),
            family=family,
            method=found.estimate.method,
            power=found.power,
        )
        for (a, b), found in differences.items()
    ]


def decide(
    selection: Selection, family: Sequence[Comparison], quality_low: Mapping[str, float], baseline: float,
    policy: PolicyConfig,
) -> Decision:  # fmt: skip
    """Return the answer.

    Args:
        selection: The representatives.
        family: The comparisons of every pair of them.
        quality_low: Lower bound of each representative's primary metric on test.
        baseline: The primary metric of always giving the most frequent answer.
        policy: Margin, alpha, volume and training runs.
    """
    found = _decide(selection, family, quality_low, baseline, policy)
    if found.answer != "inconclusive" and too_few_runs(selection.representatives.values(), policy):
        return replace(found, answer="inconclusive", outcome="runs")
    return found


def _decide(
    selection: Selection, family: Sequence[Comparison], quality_low: Mapping[str, float], baseline: float,
    policy: PolicyConfig,
) -> Decision:  # fmt: skip
    """Return the answer that the data give."""
    arms = {candidate.name: candidate for candidate in selection.representatives.values()}
    if not arms:
        return Decision("inconclusive", None, "none_allowed", {}, [])
    best_on_dev = max(arms.values(), key=lambda arm: arm.dev)
    status = {name: _status(name, family, policy) for name in arms}
    if quality_low[best_on_dev.name] <= baseline:
        return Decision("inconclusive", best_on_dev.name, "floor", status, [])
    if len(arms) == 1:
        return Decision(best_on_dev.kind, best_on_dev.name, "only", status, [])
    if all(comparison.conclusion == "equivalent" for comparison in family):
        return Decision(
            "no_difference", _cheapest(list(arms.values()), policy, simplest_first=True).name, "equivalent", status, []
        )
    chosen, blocking = cheapest_acceptable(status, list(arms.values()), policy)
    if chosen is None:
        guess = _cheapest([arms[name] for name in blocking if _loss(name, family) < policy.margin], policy)
        return Decision("inconclusive", guess.name, "undecided", status, blocking)
    answer: Answer = "inconclusive" if blocking else chosen.kind
    return Decision(answer, chosen.name, "undecided" if blocking else "cheapest", status, blocking)


def too_few_runs(arms: Iterable[ArmSummary], policy: PolicyConfig) -> list[ArmSummary]:
    """Return the arms that were trained less often than the policy asks."""
    return [arm for arm in arms if arm.runs is not None and arm.runs < policy.training_runs]


def cheapest_acceptable(
    status: Mapping[str, Status], arms: Sequence[ArmSummary], policy: PolicyConfig
) -> tuple[ArmSummary | None, list[str]]:
    """Return the cheapest acceptable arm, None if there is none, and the undecided arms that stand in its way."""
    contenders = sorted((arm for arm in arms if status[arm.name] != "rejected"), key=lambda arm: arm.usd_per_month)
    acceptable = [arm for arm in contenders if status[arm.name] == "acceptable"]
    if not acceptable:
        return None, [arm.name for arm in contenders]
    chosen = _cheapest(acceptable, policy, simplest_first=True)
    return chosen, [arm.name for arm in contenders if arm not in acceptable and _cheaper(arm, chosen, policy)]


def _cheaper(arm: ArmSummary, other: ArmSummary, policy: PolicyConfig) -> bool:
    return arm.usd_per_month < other.usd_per_month * (1 - policy.cost_margin)


def _cheapest(arms: Sequence[ArmSummary], policy: PolicyConfig, *, simplest_first: bool = False) -> ArmSummary:
    """Return the best arm on dev among those that no other one is cheaper than (ties: fewer tokens).

    With `simplest_first`, for arms that are all good enough, one that needs no language model comes before the others.
    """
    cheap = [arm for arm in arms if not any(_cheaper(other, arm, policy) for other in arms)]
    return max(cheap, key=lambda arm: (simplest_first and arm.kind == "neither", arm.dev, -arm.tokens))


def comparisons_with(name: str, family: Sequence[Comparison]) -> list[tuple[str, float, float, float, Comparison]]:
    """Return for each comparison of an arm: the other arm, and other minus arm as difference, low and high."""
    rows = []
    for row in family:
        if row.arm_b == name:
            rows.append((row.arm_a, row.difference, row.ci_low, row.ci_high, row))
        elif row.arm_a == name:
            rows.append((row.arm_b, -row.difference, -row.ci_high, -row.ci_low, row))
    return rows


def _status(name: str, family: Sequence[Comparison], policy: PolicyConfig) -> Status:
    rows = comparisons_with(name, family)
    if all(high < policy.margin for _, _, _, high, _ in rows):
        return "acceptable"
    return "rejected" if any(low > 0 for _, _, low, _, _ in rows) else "undecided"


def _loss(name: str, family: Sequence[Comparison]) -> float:
    """Return by how much the best other arm is ahead of an arm in the sample."""
    return max(difference for _, difference, _, _, _ in comparisons_with(name, family))


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return every pair once, in order."""
    return list(combinations(names, 2))
