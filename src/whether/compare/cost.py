"""What an arm costs: measured seconds and energy and counted labels times the price list.

To build: the labelled examples that the arm needs beyond dev and test (tuning and prompts with examples draw on the
training split, each as much of it as it needs; an arm that does both pays for its labels once) and the machine time of
training, with its energy where the list prices that by itself and the machine measures it. Dev and test are left out
because every arm needs them to be measured at all.
"""

from whether.compare.load import Training
from whether.compare.wording import usd
from whether.config import PolicyConfig, PricingConfig
from whether.records import BreakEven, TrainingCost

_JOULES_PER_KWH = 3.6e6


def usd_per_1k(seconds_per_request: float, pricing: PricingConfig) -> float:
    """Return the price of the machine time of 1,000 requests."""
    return seconds_per_request * 1000 * pricing.usd_per_machine_hour / 3600


def usd_to_build(labels: int, training: Training, pricing: PricingConfig) -> float:
    """Return the price of labels and of training: its machine time, and its energy where that is known."""
    machine = usd_for_seconds(training.train_seconds_with_evaluation, pricing)
    return labels * pricing.usd_per_label + machine + (usd_for_energy(training, pricing) or 0.0)


def usd_for_seconds(seconds: float, pricing: PricingConfig) -> float:
    """Return the price of machine time."""
    return seconds * pricing.usd_per_machine_hour / 3600


def usd_for_energy(training: Training, pricing: PricingConfig) -> float | None:
    """Return the price of the energy of training; None where the list has none or the energy was not measured."""
    if pricing.usd_per_kwh is None or training.energy is None:
        return None
    return training.energy / _JOULES_PER_KWH * pricing.usd_per_kwh


def training_cost(training: Training, pricing: PricingConfig) -> TrainingCost:
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


def usd_per_month(per_1k: float, to_build: float, policy: PolicyConfig) -> float:
    """Return the monthly cost at the policy's volume, the cost to build spread over its months."""
    return per_1k * policy.monthly_requests / 1000 + to_build / policy.months


def break_even(
    tuned: str, prompt: str, per_1k: tuple[float, float], to_build: tuple[float, float], months: int
) -> BreakEven:
    """Return at which monthly volume `tuned` costs as much as `prompt`; pairs are (tuned, prompt) in USD."""
    running = per_1k[0] - per_1k[1]
    building = to_build[0] - to_build[1]
    build_text = f"{usd(abs(building))} {'more' if building > 0 else 'less'} to build"
    run_text = f"{usd(abs(running))} {'more' if running > 0 else 'less'} per 1,000 requests"
    facts = f"{tuned} costs {build_text} and {run_text} than {prompt}"
    if building <= 0 and running <= 0:
        return BreakEven(tuned, prompt, "always", None, f"{facts}, so it is the cheaper one at any volume.")
    if building >= 0 and running >= 0:
        return BreakEven(tuned, prompt, "never", None, f"{facts}, so it is the dearer one at any volume.")
    volume = -building / months / running * 1000
    outcome, word = ("above", "more") if running < 0 else ("below", "fewer")
    reason = f"{facts}, so over {months} months it is the cheaper one at {word} than {volume:,.0f} requests a month."
    return BreakEven(tuned, prompt, outcome, volume, reason)  # type: ignore[arg-type]
