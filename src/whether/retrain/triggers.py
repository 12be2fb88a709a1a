"""Reasons to retrain. Each is `(evidence, *, …) -> Finding`; its keyword-only arguments are what its YAML sets.

A custom trigger is such a function and a file conf/trigger/<name>.yaml. Triggers that are tests bet on the result of
each retraining run (`whether.stats.sequential`), so that all runs together raise a false alarm with probability alpha
at most; the alphas of the triggers add up.
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

from whether.bundle.bundle import NO_PROMPT, prompt_hash
from whether.config import build
from whether.outputs.kinds import output_of
from whether.records import BundleRecord, Champion, Finding, RetrainingRun, sha256_json, to_builtins
from whether.retrain.drift import Feature, Statistic, label_shift, permutation_test, text_statistic
from whether.stats.sequential import change_point, mean_e_process, p_value_e_process

if TYPE_CHECKING:
    from whether.config import Config

Alpha = Annotated[float, Field(gt=0, lt=0.5)]
Count = Annotated[int, Field(ge=1)]
OVERWHELMING = 10.0
"""Evidence of drift that is strong by Jeffreys' scale; without drift at most one series in ten reaches it."""


@dataclass(frozen=True)
class ObservedRow:
    """A row as a trigger sees it."""

    text: str
    label: str | None
    """None: unlabelled."""
    run: int
    """Number of the retraining run in which it arrived; 0: before the first."""
    labelled_in_run: int
    """Number of the run in which its answer came; 0 as above, and for rows without an answer."""
    key: str
    """Hash of the inputs."""
    is_duplicate: bool = False
    """Whether these inputs had come before: an arrival like any other for drift, but not a new label."""


@dataclass(frozen=True)
class Evidence:
    """What is known in a retraining run, before the pipeline runs."""

    number: int
    """Of the run."""
    now: datetime
    config: "Config"
    items: Sequence[ObservedRow]
    """Every row, in the order of arrival; those that the task started with come first."""
    runs: Sequence[RetrainingRun]
    """Before this one."""
    champion: Champion | None
    bundle: BundleRecord | None
    """The champion's; None without one."""
    scores: Callable[[Sequence[str]], list[float]]
    """Keys of labelled rows → the champion's scores; rows that it has not answered yet are answered now."""
    measured: Callable[[int], dict[str, float]]
    """Number of requests → the champion's latency_p95, usd_per_1k and peak_memory, measured now."""
    model_hash: Callable[[], str]
    """Of the base model now."""
    trigger: str = ""
    """Name of the trigger that is evaluated; its findings of earlier runs have it too."""

    @cached_property
    def last_challenger_run(self) -> int:
        """Number of the last run that made a challenger; 0: none did."""
        return max((run.number for run in self.runs if run.challenger_trained), default=0)

    def resolved_runs(self, strong: float = math.inf) -> list[int]:
        """Return the runs that made a challenger, for any reason, while this trigger fired or had strong evidence.

        `strong` is a statistic of this trigger's findings: the wealth of its bets, which starts at 1.
        At these runs its series starts again. Other challengers do not change it: if each started a series, each would
        add its own false alarms, and a change that takes longer to find than challengers come would never be found.
        """
        return [
            run.number
            for run in self.runs
            if run.challenger_trained
            and any(found.fired or (found.statistic or 0.0) >= strong for found in self.own_findings(run))
        ]

    def own_findings(self, run: RetrainingRun) -> list[Finding]:
        """Return what this trigger found in a run."""
        return [finding for finding in run.findings if finding.trigger == self.trigger]

    def random(self) -> Any:
        """Return a source of random numbers that is the same when a run is repeated."""
        return np.random.default_rng((self.config.seed, self.number, int(sha256_json(self.trigger)[:8], 16)))


def evaluate(evidence: Evidence, name: str) -> Finding:
    """Evaluate a trigger of the configuration by its name there."""
    trigger = evidence.config.retrain.triggers[name]
    found: Finding = build(trigger, replace(evidence, trigger=name), where=f"retrain.triggers.{name}")
    return found


def new_labels(evidence: Evidence, *, min_rows: Count) -> Finding:
    """At least `min_rows` labelled rows have come since a challenger was last made."""
    last = evidence.last_challenger_run
    found = sum(item.labelled_in_run > last and not item.is_duplicate for item in evidence.items)
    reason = f"{found} labelled rows have come since {_last(evidence)}; {min_rows} make a new challenger worth its cost"
    return Finding(evidence.trigger, found >= min_rows, reason, float(found), float(min_rows), rows=found)


def age(evidence: Evidence, *, days: Annotated[float, Field(gt=0)]) -> Finding:
    """The champion is older than `days`. A clock that went backwards makes nothing old."""
    if evidence.champion is None:
        return Finding(evidence.trigger, False, "there is no champion that could be too old", threshold=days)
    made = [evidence.champion.since, *(run.started for run in evidence.runs if run.challenger_trained)]
    latest = max(datetime.fromisoformat(moment) for moment in made)
    old = max((evidence.now - latest).total_seconds() / 86_400, 0.0)
    reason = f"the last challenger or champion was made {old:.1f} days ago, and {days:g} are allowed"
    return Finding(evidence.trigger, old >= days, reason, old, days)


def input_drift(
    evidence: Evidence, *, feature: Feature, alpha: Alpha, permutations: Count, min_rows: Count, max_rows: Count
) -> Finding:
    """New inputs differ from those before them, in their words, their length, their vocabulary or their meaning.

    The rows of a run with fewer than `min_rows` new ones are tested by the next run; at most `max_rows` rows of each
    side are compared, drawn at random for each run.
    """
    claim = {
        "words": "a classifier of words distinguishes this run's inputs from earlier ones",
        "length": "this run's inputs differ in length from earlier ones",
        "vocabulary": "this run's inputs have words that earlier ones do not",
        "meaning": "a classifier of sentence embeddings distinguishes this run's inputs from earlier ones",
    }[feature]

    def statistic(items: Sequence[ObservedRow]) -> Statistic:
        return text_statistic([item.text for item in items], feature)

    return _drift(evidence, evidence.items, claim, statistic, _Settings(alpha, permutations, min_rows, max_rows))


def label_drift(evidence: Evidence, *, alpha: Alpha, permutations: Count, min_rows: Count, max_rows: Count) -> Finding:
    """New answers are distributed differently from those before them; for tasks with labels."""
    if output_of(evidence.config.task).classes is None:
        return Finding(evidence.trigger, False, "the task has no labels", threshold=1 / alpha)
    labelled = [replace(item, run=item.labelled_in_run) for item in evidence.items if item.label is not None]

    def statistic(items: Sequence[ObservedRow]) -> Statistic:
        return label_shift([str(item.label) for item in items])

    claim = "this run's labels are distributed differently from earlier ones"
    settings = _Settings(alpha, permutations, min_rows, max_rows)
    return _drift(evidence, labelled, claim, statistic, settings)


def quality_drop(evidence: Evidence, *, alpha: Alpha, tolerance: Annotated[float, Field(ge=0, lt=1)]) -> Finding:
    """The champion's answers to labelled rows that came later are worse than its answers to the test split.

    "Worse" is below the lower bound of its score on test, minus the tolerance; half of alpha goes into that bound.
    """
    from whether.stats.intervals import rate_interval

    threshold = 2 / alpha
    if evidence.champion is None or evidence.bundle is None:
        return Finding(evidence.trigger, False, "there is no champion whose quality could drop", threshold=threshold)
    tested = evidence.bundle.metrics.get("n_test", 0.0)
    reached = evidence.bundle.metrics.get("mean_score", evidence.bundle.quality)
    low = rate_interval(reached * tested, tested, 1 - alpha).low if tested else 0.0
    lower_mean = max(low - tolerance, 0.0)
    begun = max([evidence.champion.run, *evidence.resolved_runs()])
    fresh = [item for item in evidence.items if item.labelled_in_run > begun and not item.is_duplicate]
    fresh.sort(key=lambda item: item.labelled_in_run)
    answered = dict(zip(fresh, evidence.scores([item.key for item in fresh]), strict=True))
    scores = [
        np.array([answered[item] for item in items], dtype=np.float64)
        for _, items in groupby(fresh, key=lambda item: item.labelled_in_run)
    ]
    found = mean_e_process(scores, lower_mean)
    mean = (
        f"a mean score of {np.mean(list(answered.values())):.3f} on {len(fresh)} new rows" if fresh else "no new rows"
    )
    reason = (
        f"{mean}, where {lower_mean:.3f} or more is not a drop ({reached:.3f} on test); evidence {found:.3g} of"
        f" {threshold:g}"
    )
    return Finding(evidence.trigger, found >= threshold, reason, found, threshold, rows=len(fresh))


def constraint(evidence: Evidence, *, requests: Annotated[int, Field(ge=2)]) -> Finding:
    """The champion breaks one of the policy's limits on latency, cost or memory, measured now on `requests` rows."""
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
    """The base model, the task's wording or the champion's prompt has changed since the champion was made."""
    if evidence.bundle is None:
        return Finding(evidence.trigger, False, "there is no champion to compare with")
    bundle, config = evidence.bundle, evidence.config
    what = []
    model_hash = evidence.model_hash()
    if model_hash != bundle.model_hash:
        what.append("the base model")
    prompt = NO_PROMPT if bundle.baseline else config.prompts.get(bundle.prompt_name)
    wording = prompt_hash(config, prompt) if prompt else None
    if wording != bundle.prompt_hash:
        what.append(f"the task's wording{'' if bundle.baseline else f' or the prompt {bundle.prompt_name}'}")
    checkpoint = config.checkpoints.get(bundle.checkpoint)
    if bundle.served and checkpoint and checkpoint.served:
        now, then = dataclasses.asdict(checkpoint.served), bundle.served
        if any(now[name] != then[name] for name in ("base_url", "model")):
            what.append(f"the served model, which was {then['model']} at {then['base_url']}")
    if bundle.baseline and bundle.arm not in config.baseline_names:
        what.append(f"the list of baselines, which lacks {bundle.arm}")
    if not bundle.baseline and bundle.checkpoint not in config.checkpoints:
        what.append(f"the list of checkpoints, which lacks {bundle.checkpoint}")
    serving = to_builtins(checkpoint.served) if checkpoint and checkpoint.served else {}
    seen = [model_hash, wording or "", sorted(config.checkpoints), serving.get("base_url"), serving.get("model")]
    state = sha256_json([*seen, config.baseline_names] if bundle.baseline else seen)
    findings = [found for run in evidence.runs if run.challenger_trained for found in run.findings]
    tried = [found.state for found in findings if found.trigger == evidence.trigger]
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
    min_rows: int
    max_rows: int


def _drift(
    evidence: Evidence, items: Sequence[ObservedRow], claim: str,
    statistic: Callable[[Sequence[ObservedRow]], Statistic], settings: _Settings,
) -> Finding:  # fmt: skip
    """Test the rows that no earlier run tested against those before them, and bet on the p-value.

    `claim` is what a small p-value shows, as a clause.
    """
    name, (alpha, permutations, min_rows, max_rows) = evidence.trigger, settings
    resolved = evidence.resolved_runs(OVERWHELMING)
    since = max(resolved, default=0)
    earlier = [
        (run.number, found.p_value)
        for run in evidence.runs
        if run.number > since
        for found in evidence.own_findings(run)
        if found.p_value is not None
    ]
    begun = max([since, *(number for number, _ in earlier)])
    fresh = [item for item in items if item.run > begun]
    reference = _reference_begins(evidence, resolved)
    random = evidence.random()
    before = _sample([item for item in items if reference <= item.run <= begun], max_rows, random)
    p_values = [p_value for _, p_value in earlier]
    if len(fresh) < min_rows or len(before) < min_rows:
        reached = p_value_e_process(p_values)
        few = f"{len(fresh)} new rows and {len(before)} earlier ones: a test needs {min_rows} of each"
        return Finding(name, reached >= 1 / alpha, few, reached, 1 / alpha, rows=len(fresh))
    fresh = _sample(fresh, max_rows, random)
    test = permutation_test(len(fresh), len(before), statistic([*before, *fresh]), permutations, random)
    reached = p_value_e_process([*p_values, test.p_value])
    shown = f"p = {test.p_value:.3g} that {claim}" if test.p_value < 0.5 else f"nothing shows that {claim}"
    reason = f"{shown} ({len(fresh)} rows against {len(before)}); evidence {reached:.3g} of {1 / alpha:g}"
    return Finding(name, reached >= 1 / alpha, reason, reached, 1 / alpha, p_value=test.p_value, rows=len(fresh))


def _reference_begins(evidence: Evidence, resolved: Sequence[int]) -> int:
    """Return the number of the run whose rows are the first that new ones are compared with.

    Once a challenger was made while there was strong evidence of drift, in one of the `resolved` runs, the new state
    is the normal one: rows count from the run on where the change most likely was.
    """
    begin, series = 0, list[tuple[int, float]]()
    for run in evidence.runs:
        series += [(run.number, found.p_value) for found in evidence.own_findings(run) if found.p_value is not None]
        if run.number in resolved and series:
            begin = series[change_point([p_value for _, p_value in series])][0]
            series = []
    return begin


def _sample(items: Sequence[ObservedRow], max_rows: int, random: Any) -> list[ObservedRow]:
    """Return at most `max_rows` rows, drawn again in each run.

    Runs that were all compared with the same few rows would share the peculiarities of these: each p-value would be
    uniform, and all together small in one series and large in another. `tests/retrain/test_triggers.py` shows it.
    """
    known = sorted(items, key=lambda item: item.key)
    if len(known) <= max_rows:
        return known
    return [known[place] for place in random.choice(len(known), max_rows, replace=False)]


def _last(evidence: Evidence) -> str:
    last = evidence.last_challenger_run
    return f"run {last}, which made a challenger" if last else "the beginning"
