"""What an arm costs: measured seconds and counted labels times the price list.

To build: the labelled examples that the arm needs beyond dev and test (tuning and prompts with examples draw on the
training split, each as much of it as it needs; an arm that does both pays for its labels once) and
the machine time of training. Dev and test are left out because every arm needs them to be measured at all.
"""

from whether.compare.wording import usd
from whether.config import PolicyConfig, PricingConfig
from whether.records import BreakEven


def usd_per_1k(seconds_per_request: float, pricing: PricingConfig) -> float:
    """Return the price of the machine time of 1,000 requests."""
    return seconds_per_request * 1000 * pricing.usd_per_machine_hour / 3600


def usd_to_build(labels: int, train_seconds: float, pricing: PricingConfig) -> float:
    """Return the price of labels and of the machine time of training."""
    return labels * pricing.usd_per_label + train_seconds * pricing.usd_per_machine_hour / 3600


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
