"""What an arm costs: measured seconds and energy and counted labels times the price list.

To build: the labelled examples that the arm needs beyond dev and test (tuning and prompts with examples draw on the
training split, each as much of it as it needs; an arm that does both pays for its labels once) and the machine time of
training, with its energy where the list prices that by itself and the machine measures it. Dev and test are left out
because every arm needs them to be measured at all.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from whether.compare.results import Arm, Checkpoint
from whether.config import Config, PolicyConfig, PricingConfig, TokenPrice
from whether.errors import RecordError
from whether.metrics.catalogue import measurement
from whether.metrics.format import format_usd
from whether.records import BreakEven, CheckpointMetrics, CostDriver, Measurement, TrainingCost
from whether.stats.inference import unbounded_mean_interval
from whether.stats.intervals import Floats, InferenceSettings, Interval

_JOULES_PER_KWH = 3.6e6


class ArmCost(NamedTuple):
    """What an arm takes, before prices."""

    seconds_per_request: float
    """Machine time of a request in a batch."""
    labels: int
    """Labelled examples beyond dev and test."""
    training: CheckpointMetrics
    search_seconds: float
    """Machine time of the search that found the prompt."""
    person_hours: float = 0.0
    """Of people who build it."""
    token_usd_per_request: float = 0.0
    """What a provider asks for the tokens of a request; it then takes no machine time of ours."""
    search_usd: float = 0.0
    """What a provider asked for its share in the search."""

    @property
    def building_seconds(self) -> float:
        """Machine time before the first request."""
        return self.training.train_seconds_with_evaluation + self.search_seconds

    def usd_per_1k(self, pricing: PricingConfig) -> float:
        """Return the price of 1,000 requests: of their machine time or, from a provider, of their tokens."""
        return 1000 * (usd_for_seconds(self.seconds_per_request, pricing) + self.token_usd_per_request)

    def usd_to_build(self, pricing: PricingConfig) -> float:
        """Return the price of labels, training, search and people's time."""
        people = self.person_hours * (pricing.usd_per_person_hour or 0.0)
        return self.labels * pricing.usd_per_label + self.usd_to_retrain(pricing) + people

    def usd_to_retrain(self, pricing: PricingConfig) -> float:
        """Return the price of training and search once more, without labels and people."""
        searching = usd_for_seconds(self.search_seconds, pricing) + self.search_usd
        return usd_to_build(0, self.training, pricing) + searching

    def fixed_usd_per_month(self, pricing: PricingConfig, policy: PolicyConfig) -> float:
        """Return what a month costs without a request: building spread over the policy's months, and retraining."""
        retraining = self.usd_to_retrain(pricing) / policy.retrain_months if policy.retrain_months else 0.0
        return self.usd_to_build(pricing) / policy.months + retraining

    def usd_per_month(self, pricing: PricingConfig, policy: PolicyConfig) -> float:
        """Return what a month costs at the policy's volume."""
        running = self.usd_per_1k(pricing) * policy.monthly_requests / 1000
        return running + self.fixed_usd_per_month(pricing, policy)


def usd_to_build(labels: int, training: CheckpointMetrics, pricing: PricingConfig) -> float:
    """Return the price of labels and of training: its machine time, and its energy where that is known."""
    machine = usd_for_seconds(training.train_seconds_with_evaluation, pricing)
    return labels * pricing.usd_per_label + machine + (usd_for_energy(training, pricing) or 0.0)


def usd_for_seconds(seconds: float, pricing: PricingConfig) -> float:
    """Return the price of machine time."""
    return seconds * pricing.usd_per_machine_hour / 3600


def usd_for_energy(training: CheckpointMetrics, pricing: PricingConfig) -> float | None:
    """Return the price of the energy of training; None where the list has none or the energy was not measured."""
    if pricing.usd_per_kwh is None or training.energy is None:
        return None
    return training.energy / _JOULES_PER_KWH * pricing.usd_per_kwh


def training_cost(training: CheckpointMetrics, pricing: PricingConfig) -> TrainingCost:
    """Return what making a checkpoint took and its price, the labels that it was trained on included."""
    return TrainingCost(
        labels=training.labels_used,
        seconds=training.train_seconds_with_evaluation,
        tokens=training.trained_tokens,
        computed_tokens=training.computed_tokens,
        flops=training.flops,
        energy=training.energy,
        peak_memory=training.peak_memory,
        peak_device_memory=training.peak_device_memory,
        usd_labels=training.labels_used * pricing.usd_per_label,
        usd_machine=training.train_seconds_with_evaluation * pricing.usd_per_machine_hour / 3600,
        usd_energy=usd_for_energy(training, pricing),
        usd=usd_to_build(training.labels_used, training, pricing),
    )


def break_even(
    tuned: str,
    prompt: str,
    expenses: tuple[ArmCost, ArmCost],
    pricing: PricingConfig,
    policy: PolicyConfig,
    *,
    running: Interval | None = None,
) -> BreakEven:
    """Return at which monthly volume `tuned` costs as much as `prompt`, and what moves that; expenses in this order.

    `running` is the interval of what `tuned` costs more per 1,000 requests. Fixed costs are not a sample, so the volume
    where the lines cross is a monotone function of that difference, and its interval follows.
    """
    ours, theirs = expenses
    apart = _CostLines(
        ours.usd_per_1k(pricing) - theirs.usd_per_1k(pricing),
        ours.usd_to_build(pricing) - theirs.usd_to_build(pricing),
        ours.fixed_usd_per_month(pricing, policy) - theirs.fixed_usd_per_month(pricing, policy),
    )
    found = _crossing(tuned, prompt, apart, policy, running)
    difference = ours.usd_per_month(pricing, policy) - theirs.usd_per_month(pricing, policy)
    low, high = (end if math.isfinite(end) else None for end in _interval_ends(apart.fixed, running))
    drivers = _drivers(expenses, pricing, policy)
    return replace(found, usd_per_month=difference, drivers=drivers, ci_low=low, ci_high=high)


def _drivers(expenses: tuple[ArmCost, ArmCost], pricing: PricingConfig, policy: PolicyConfig) -> list[CostDriver]:
    """Return what half and twice of each quantity make of the difference a month, those that move it most first."""
    ours, theirs = expenses

    def difference(
        a: ArmCost = ours, b: ArmCost = theirs, prices: PricingConfig = pricing, rule: PolicyConfig = policy
    ) -> float:
        return a.usd_per_month(prices, rule) - b.usd_per_month(prices, rule)

    def times(expense: ArmCost, factor: float) -> ArmCost:
        return expense._replace(
            seconds_per_request=factor * expense.seconds_per_request,
            token_usd_per_request=factor * expense.token_usd_per_request,
        )

    scaled: dict[str, Callable[[float], float]] = {
        "requests a month": lambda x: difference(
            rule=replace(policy, monthly_requests=max(1, round(x * policy.monthly_requests)))
        ),
        "months to spread building over": lambda x: difference(
            rule=replace(policy, months=max(1, round(x * policy.months)))
        ),
        "price of a label": lambda x: difference(prices=replace(pricing, usd_per_label=x * pricing.usd_per_label)),
        "price of a machine hour": lambda x: difference(
            prices=replace(pricing, usd_per_machine_hour=x * pricing.usd_per_machine_hour)
        ),
        f"{_resource(ours)} of a request, tuned": lambda x: difference(a=times(ours, x)),
        f"{_resource(theirs)} of a request, prompt": lambda x: difference(b=times(theirs, x)),
    }
    drivers = [CostDriver(name, scale(0.5), scale(2.0)) for name, scale in scaled.items()]
    return sorted(drivers, key=lambda driver: -abs(driver.usd_double - driver.usd_half))


def _resource(expense: ArmCost) -> str:
    return "tokens" if expense.token_usd_per_request else "time"


class _CostLines(NamedTuple):
    """What a tuned arm costs more than a prompt arm, in USD."""

    running: float
    """Per 1,000 requests."""
    building: float
    fixed: float
    """A month without a request."""


def _crossing(tuned: str, prompt: str, apart: _CostLines, policy: PolicyConfig, interval: Interval | None) -> BreakEven:
    """Return where the two lines of monthly cost cross."""
    running, building, fixed = apart
    low, high = _interval_ends(fixed, interval)
    facts = (
        f"{tuned} costs {format_usd(abs(building))} {'more' if building > 0 else 'less'} to build and"
        f" {format_usd(abs(running))} {'more' if running > 0 else 'less'} per 1,000 requests than {prompt}"
    )
    often = f" and retrained every {policy.retrain_months} months" if policy.retrain_months else ""
    if fixed <= 0 and running <= 0:
        sure = f"{facts}, so it is the cheaper one at any volume{_hedged(low, 'dearer')}."
        return BreakEven(tuned, prompt, "always", None, sure)
    if fixed >= 0 and running >= 0:
        sure = f"{facts}, so it is the dearer one at any volume{_hedged(low, 'cheaper')}."
        return BreakEven(tuned, prompt, "never", None, sure)
    volume = _volume(fixed, running)
    span = f" (interval {low:,.0f} to {f'{high:,.0f}' if math.isfinite(high) else 'never'})" if interval else ""
    word = "more" if running < 0 else "fewer"
    return BreakEven(
        tuned,
        prompt,
        "above" if running < 0 else "below",
        volume,
        f"{facts}, so over {policy.months} months{often} it is the cheaper one at {word} than {volume:,.0f}{span}"
        " requests a month.",
    )


def _interval_ends(fixed: float, running: Interval | None) -> tuple[float, float]:
    """Return the interval of the volume; infinity where there is none, and where the lines may not cross."""
    if running is None:
        return math.inf, math.inf
    low, high = sorted((_volume(fixed, running.low), _volume(fixed, running.high)))
    return low, high


def _volume(fixed: float, running: float) -> float:
    """Return at how many requests a month two lines of cost meet; infinity if they do not."""
    return -fixed / running * 1000 if fixed * running < 0 else math.inf


def _hedged(volume: float, word: str) -> str:
    """Say that the interval reaches to the other side of a claim about any volume."""
    if math.isinf(volume):
        return ""
    return f" (by the interval of running costs it may be the {word} one above {volume:,.0f} requests a month)"


def costs(
    arm: Arm, checkpoint: Checkpoint, pool: int, settings: InferenceSettings, config: Config
) -> dict[str, Measurement]:
    """Return what an arm costs to build and to run, by metric."""
    spent, policy = expense(arm, checkpoint, pool, config.pricing), config.policy
    running = unbounded_mean_interval(1000 * request_usd(arm, checkpoint, config.pricing), settings)
    fixed, thousands = spent.fixed_usd_per_month(config.pricing, policy), policy.monthly_requests / 1000
    month = running and Interval(running.low * thousands + fixed, running.high * thousands + fixed)
    n = len(arm.test)
    return {
        "usd_per_1k": measurement("usd_per_1k", spent.usd_per_1k(config.pricing), running, n),
        "usd_per_month": measurement("usd_per_month", spent.usd_per_month(config.pricing, policy), month, n),
        "usd_to_build": measurement("usd_to_build", spent.usd_to_build(config.pricing)),
        "usd_to_retrain": measurement("usd_to_retrain", spent.usd_to_retrain(config.pricing)),
        "seconds_to_build": measurement("seconds_to_build", spent.building_seconds),
        "labels_to_build": measurement("labels_to_build", spent.labels),
    }


def expense(arm: Arm, checkpoint: Checkpoint, pool: int, pricing: PricingConfig) -> ArmCost:
    """Return what an arm takes to build and to run; `pool` is the size of the training split."""
    hours = pricing.person_hours.get(arm.checkpoint, 0.0) + pricing.person_hours.get(arm.prompt, 0.0)
    training = checkpoint.training
    labels = max(training.labels_used, pool if arm.labels_needed is None else min(arm.labels_needed, pool))
    if checkpoint.price:
        tokens = float(_token_usd(arm, checkpoint.price).mean())
        return ArmCost(0.0, labels, training, arm.search_seconds, hours, tokens, arm.search_usd)
    seconds = seconds_per_request(arm)
    return ArmCost(seconds, labels, training, arm.search_seconds, hours, search_usd=arm.search_usd)


def request_usd(arm: Arm, checkpoint: Checkpoint, pricing: PricingConfig) -> Floats:
    """Return what each test request costs, shape (n,); the mean is the arm's running cost.

    On a machine of ours a batch has a time and a request has none: it gets the share of the tokens that were computed
    for it and that it wrote. So an interval is over what is asked, at the speed that was measured. A request that was
    not answered counts as the mean of the others.
    """
    if checkpoint.price:
        return _token_usd(arm, checkpoint.price)
    counts = [(row.computed_tokens, row.output_tokens) for row in arm.test if not row.error]
    tokens = [read + written for read, written in counts if read is not None and written is not None]
    known = len(tokens) == len(counts) and any(tokens)
    shares = _with_mean(arm, tokens if known else [1] * len(counts))
    return np.asarray(shares / shares.mean() * usd_for_seconds(seconds_per_request(arm), pricing))


def _with_mean(arm: Arm, values: Sequence[float]) -> Floats:
    """Return a value for each test row, shape (n,): those of the answered rows, and their mean for the others."""
    known = np.array(values, dtype=np.float64)
    found = np.full(len(arm.test), known.mean() if len(known) else 1.0)
    found[[not row.error for row in arm.test]] = known
    return found


def _token_usd(arm: Arm, price: TokenPrice) -> Floats:
    """Return what the tokens of each test request cost, shape (n,). Raises RecordError where they are not known."""
    if not (price.usd_per_1m_input or price.usd_per_1m_output):
        return np.zeros(len(arm.test))
    found = []
    for row in (row for row in arm.test if not row.error):
        if row.input_tokens is None or row.output_tokens is None:
            raise RecordError(
                f"{arm.name}: the server did not report how many tokens the answer to {row.id} took, so its cost is not"
                " known; if it costs nothing, set its prices to 0"
            )
        found.append(price.usd(row.input_tokens, row.output_tokens, row.cached_tokens or 0))
    return _with_mean(arm, found)


def seconds_per_request(arm: Arm) -> float:
    """Return the mean over the answered rows of test; seconds are a share of their batch's, and have no interval."""
    seconds = [row.seconds for row in arm.test if not row.error]
    return float(np.mean(seconds)) if seconds else 0.0
