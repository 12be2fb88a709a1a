"""Reasons to retrain. Each is `(evidence, *, …) -> Finding`; its keyword-only arguments are what its YAML sets.

A trigger of your own is such a function and a file conf/trigger/<name>.yaml. Those that test something bet on each
night's result (`whether.stats.sequential`), so that all nights together raise a false alarm with probability alpha at
most; the alphas of the triggers add up.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from whether.bundle.bundle import prompt_hash
from whether.config import build
from whether.records import BundleRecord, Champion, Finding, RetrainingRun, sha256_json, to_builtins
from whether.retrain.drift import Feature, Statistic, label_shift, permutation_test, text_statistic
from whether.stats.sequential import change_point, mean_e_process, p_value_e_process

if TYPE_CHECKING:
    from whether.config import Config

Alpha = Annotated[float, Field(gt=0, lt=0.5)]
Count = Annotated[int, Field(ge=1)]
OVERWHELMING = 10.0
"""Evidence of drift that is strong by Jeffreys' scale; without drift one series in ten reaches it at most."""


@dataclass(frozen=True)
class ObservedRow:
    """A row as a trigger sees it."""

    text: str
    label: str | None
    """None: unlabelled."""
    night: int
    """In which it arrived; 0: before the first."""
    labelled: int
    """In which its answer came; 0 as above, and for those without."""
    key: str
    """Hash of the inputs."""
    is_repeat: bool = False
    """Whether these inputs had come before: an arrival like any other for drift, and no new label."""


@dataclass(frozen=True)
class Evidence:
    """What is known on a night, before anything is made."""

    number: int
    """Of the night."""
    now: datetime
    config: "Config"
    items: Sequence[ObservedRow]
    """Every row, in the order of arrival; those that the task began with come first."""
    nights: Sequence[RetrainingRun]
    """Before this one."""
    champion: Champion | None
    bundle: BundleRecord | None
    """The champion's; None without one."""
    scores: Callable[[Sequence[str]], list[float]]
    """Keys of labelled rows → the champion's scores; it answers those that it has not answered yet."""
    measured: Callable[[int], dict[str, float]]
    """Number of requests → the champion's latency_p95, usd_per_1k and peak_memory, measured now."""
    model_hash: Callable[[], str]
    """Of the base model as it is now."""
    trigger: str = ""
    """Name of the one that is asked, by which its findings of earlier nights are known."""

    @cached_property
    def examined(self) -> int:
        """Number of the last night that made a challenger; 0: none did."""
        return max((night.number for night in self.nights if night.examined), default=0)

    def settled(self, strong: float = math.inf) -> list[int]:
        """Return the nights that made a challenger, whatever for, while this trigger fired or had strong evidence.

        `strong` is a statistic of this trigger's findings: the wealth of its bets, which begins with 1.
        There its series begins anew. Other challengers leave it as it is: if each began a series, each would bring
        false alarms of its own, and what takes longer to find than challengers come would never be found.
        """
        return [
            night.number
            for night in self.nights
            if night.examined and any(found.fired or (found.statistic or 0.0) >= strong for found in self.own(night))
        ]

    def own(self, night: RetrainingRun) -> list[Finding]:
        """Return what this trigger found on a night."""
        return [finding for finding in night.findings if finding.trigger == self.trigger]

    def random(self) -> Any:
        """Return a source of random numbers that is the same when a night is repeated."""
        return np.random.default_rng((self.config.seed, self.number, int(sha256_json(self.trigger)[:8], 16)))


def evaluate(evidence: Evidence, name: str) -> Finding:
    """Ask a trigger of the configuration by its name there."""
    trigger = evidence.config.retrain.triggers[name]
    found: Finding = build(trigger, replace(evidence, trigger=name), where=f"retrain.triggers.{name}")
    return found


def new_labels(evidence: Evidence, *, least: Count) -> Finding:
    """So many labelled rows have come since a challenger was last made."""
    found = sum(item.labelled > evidence.examined and not item.is_repeat for item in evidence.items)
    reason = f"{found} labelled rows have come since {_last(evidence)}; {least} make a new challenger worth its cost"
    return Finding(evidence.trigger, found >= least, reason, float(found), float(least), rows=found)


def age(evidence: Evidence, *, days: Annotated[float, Field(gt=0)]) -> Finding:
    """The champion is older than that. A clock that went backwards makes nothing old."""
    if evidence.champion is None:
        return Finding(evidence.trigger, False, "there is no champion whose age could be told", threshold=days)
    made = [evidence.champion.since, *(night.started for night in evidence.nights if night.examined)]
    latest = max(datetime.fromisoformat(moment) for moment in made)
    old = max((evidence.now - latest).total_seconds() / 86_400, 0.0)
    reason = f"the last challenger or champion was made {old:.1f} days ago, and {days:g} are allowed"
    return Finding(evidence.trigger, old >= days, reason, old, days)


def input_drift(
    evidence: Evidence, *, feature: Feature, alpha: Alpha, permutations: Count, least: Count, most: Count
) -> Finding:
    """New inputs are unlike those before them, in their words, their length, their vocabulary or their meaning.

    A night with fewer than `least` new rows is left for the next one; `most` rows of each side are looked at, drawn at
    random for each night.
    """
    said = {
        "words": "a classifier of words tells this night's inputs from earlier ones",
        "length": "this night's inputs differ in length from earlier ones",
        "vocabulary": "this night's inputs hold words that earlier ones do not",
        "meaning": "a classifier of sentence embeddings tells this night's inputs from earlier ones",
    }[feature]

    def statistic(items: Sequence[ObservedRow]) -> Statistic:
        return text_statistic([item.text for item in items], feature)

    return _drift(evidence, evidence.items, said, statistic, _Settings(alpha, permutations, least, most))


def label_drift(evidence: Evidence, *, alpha: Alpha, permutations: Count, least: Count, most: Count) -> Finding:
    """New answers are distributed otherwise than those before them; for tasks with labels."""
    if evidence.config.task.output != "label":
        return Finding(evidence.trigger, False, "the task has no labels", threshold=1 / alpha)
    labelled = [replace(item, night=item.labelled) for item in evidence.items if item.label is not None]

    def statistic(items: Sequence[ObservedRow]) -> Statistic:
        return label_shift([str(item.label) for item in items])

    said = "this night's labels are distributed otherwise than earlier ones"
    settings = _Settings(alpha, permutations, least, most)
    return _drift(evidence, labelled, said, statistic, settings)


def quality_drop(evidence: Evidence, *, alpha: Alpha, tolerance: Annotated[float, Field(ge=0, lt=1)]) -> Finding:
    """The champion's answers to labelled rows that came later are worse than its answers to the test split.

    "Worse" is below the lower bound of what it scored on test, less the tolerance; half of alpha goes into that bound.
    """
    from whether.stats.intervals import rate_interval

    threshold = 2 / alpha
    if evidence.champion is None or evidence.bundle is None:
        return Finding(evidence.trigger, False, "there is no champion whose quality could be told", threshold=threshold)
    tested = evidence.bundle.metrics.get("n_test", 0.0)
    reached = evidence.bundle.metrics.get("mean_score", evidence.bundle.quality)
    low = rate_interval(reached * tested, tested, 1 - alpha).low if tested else 0.0
    least = max(low - tolerance, 0.0)
    begun = max([evidence.champion.night, *evidence.settled()])
    fresh = [item for item in evidence.items if item.labelled > begun and not item.is_repeat]
    fresh.sort(key=lambda item: item.labelled)
    answered = dict(zip(fresh, evidence.scores([item.key for item in fresh]), strict=True))
    nights = [
        np.array([answered[item] for item in items], dtype=np.float64)
        for _, items in groupby(fresh, key=lambda item: item.labelled)
    ]
    found = mean_e_process(nights, least)
    mean = (
        f"a mean score of {np.mean(list(answered.values())):.3f} on {len(fresh)} new rows" if fresh else "no new rows"
    )
    reason = (
        f"{mean}, where {least:.3f} or more is no drop ({reached:.3f} on test); evidence {found:.3g} of {threshold:g}"
    )
    return Finding(evidence.trigger, found >= threshold, reason, found, threshold, rows=len(fresh))


def constraint(evidence: Evidence, *, requests: Annotated[int, Field(ge=2)]) -> Finding:
    """The champion breaks one of the policy's limits on latency, cost or memory, measured now with so many requests."""
    limits = {
        name: limit.max
        for name, limit in evidence.config.policy.constraints.items()
        if limit and limit.max is not None and name in ("latency_p95", "usd_per_1k", "peak_memory")
    }
    if not limits or evidence.champion is None:
        lacking = "the policy sets no limit that can be measured here" if evidence.champion else "there is no champion"
        return Finding(evidence.trigger, False, lacking)
    measured = evidence.measured(requests)
    limits = {name: limit for name, limit in limits.items() if name in measured}  # a served model has no memory here
    if not limits:
        return Finding(evidence.trigger, False, "the policy sets no limit that can be measured here")
    broken = [
        f"{name} is {measured[name]:.4g}, at most {limit:.4g} is allowed"
        for name, limit in limits.items()
        if measured[name] > limit
    ]
    worst = max(measured[name] / limit for name, limit in limits.items())
    reason = "; ".join(broken) or f"all limits are kept ({', '.join(sorted(limits))})"
    return Finding(evidence.trigger, bool(broken), reason, worst, 1.0, rows=requests)


def changed(evidence: Evidence) -> Finding:
    """The base model, the task's wording or the champion's prompt is not what the champion was made with."""
    if evidence.bundle is None:
        return Finding(evidence.trigger, False, "there is no champion to compare with")
    bundle, config = evidence.bundle, evidence.config
    what = []
    model_hash = evidence.model_hash()
    if model_hash != bundle.model_hash:
        what.append("the base model")
    said = prompt_hash(config, bundle.prompt_name) if bundle.prompt_name in config.prompts else None
    if said != bundle.prompt_hash:
        what.append(f"the task's wording or the prompt {bundle.prompt_name}")
    checkpoint = config.checkpoints.get(bundle.checkpoint)
    if bundle.served and checkpoint and checkpoint.served:
        now, then = dataclasses.asdict(checkpoint.served), bundle.served
        if any(now[name] != then[name] for name in ("base_url", "model")):
            what.append(f"the served model, which was {then['model']} at {then['base_url']}")
    if bundle.checkpoint not in config.checkpoints:
        what.append(f"the list of checkpoints, which lacks {bundle.checkpoint}")
    serving = to_builtins(checkpoint.served) if checkpoint and checkpoint.served else {}
    seen = [model_hash, said or "", sorted(config.checkpoints), serving.get("base_url"), serving.get("model")]
    state = sha256_json(seen)
    examined = [found for night in evidence.nights if night.examined for found in night.findings]
    tried = [found.state for found in examined if found.trigger == evidence.trigger]
    count = float(len(what))
    if not what:
        return Finding(evidence.trigger, False, "model, wording and prompt are the champion's", count, 1.0, state=state)
    if tried and tried[-1] == state:
        reason = f"{'; '.join(what)}: as when the last challenger was made"
        return Finding(evidence.trigger, False, reason, count, 1.0, state=state)
    return Finding(
        evidence.trigger, True, f"changed since the champion was made: {'; '.join(what)}", count, 1.0, state=state
    )


class _Settings(NamedTuple):
    alpha: float
    permutations: int
    least: int
    most: int


def _drift(
    evidence: Evidence, items: Sequence[ObservedRow], said: str,
    statistic: Callable[[Sequence[ObservedRow]], Statistic], settings: _Settings,
) -> Finding:  # fmt: skip
    """Test the rows that no earlier night tested against those before them, and bet on the p-value.

    `said` is what a small p-value says, as a clause.
    """
    name, (alpha, permutations, least, most) = evidence.trigger, settings
    settled = evidence.settled(OVERWHELMING)
    since = max(settled, default=0)
    earlier = [
        (night.number, found.p_value)
        for night in evidence.nights
        if night.number > since
        for found in evidence.own(night)
        if found.p_value is not None
    ]
    begun = max([since, *(night for night, _ in earlier)])
    fresh = [item for item in items if item.night > begun]
    reference = _reference_begins(evidence, settled)
    random = evidence.random()
    before = _some([item for item in items if reference <= item.night <= begun], most, random)
    p_values = [p_value for _, p_value in earlier]
    if len(fresh) < least or len(before) < least:
        reached = p_value_e_process(p_values)
        few = f"{len(fresh)} new rows and {len(before)} earlier ones: a test needs {least} of each"
        return Finding(name, reached >= 1 / alpha, few, reached, 1 / alpha, rows=len(fresh))
    fresh = _some(fresh, most, random)
    test = permutation_test(len(fresh), len(before), statistic([*before, *fresh]), permutations, random)
    reached = p_value_e_process([*p_values, test.p_value])
    shown = f"p = {test.p_value:.3g} that {said}" if test.p_value < 0.5 else f"nothing says that {said}"
    reason = f"{shown} ({len(fresh)} rows against {len(before)}); evidence {reached:.3g} of {1 / alpha:g}"
    return Finding(name, reached >= 1 / alpha, reason, reached, 1 / alpha, p_value=test.p_value, rows=len(fresh))


def _reference_begins(evidence: Evidence, settled: Sequence[int]) -> int:
    """Return the night from which on rows are what new ones are compared with.

    Once a challenger was made while there was strong evidence of drift, in one of the `settled` nights, the new state
    is the normal one: rows count from the night on where the change most likely was.
    """
    begin, series = 0, list[tuple[int, float]]()
    for night in evidence.nights:
        series += [(night.number, found.p_value) for found in evidence.own(night) if found.p_value is not None]
        if night.number in settled and series:
            begin = series[change_point([p_value for _, p_value in series])][0]
            series = []
    return begin


def _some(items: Sequence[ObservedRow], most: int, random: Any) -> list[ObservedRow]:
    """Return at most so many rows, drawn anew each night.

    Nights that were all compared with the same few rows would share what is peculiar to these: each p-value would be
    uniform, and all together small in one series and large in another. `tests/retrain/test_triggers.py` shows it.
    """
    known = sorted(items, key=lambda item: item.key)
    if len(known) <= most:
        return known
    return [known[place] for place in random.choice(len(known), most, replace=False)]


def _last(evidence: Evidence) -> str:
    return f"night {evidence.examined}, which made a challenger" if evidence.examined else "the beginning"
