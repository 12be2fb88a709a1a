"""What an arm costs: to build, for a request, in a month; by machine time, or by the tokens of a served model."""

import numpy as np

from whether.compare import cost
from whether.compare.load import Arm, Checkpoint
from whether.config import Config, PricingConfig, TokenPrice
from whether.errors import RecordError
from whether.metrics.catalogue import measurement
from whether.records import Measurement
from whether.stats.inference import amount_interval
from whether.stats.intervals import Floats, Inference, Interval


def costs(arm: Arm, checkpoint: Checkpoint, pool: int, settings: Inference, config: Config) -> dict[str, Measurement]:
    """Return what an arm costs to build and to run, by metric."""
    spent, policy = expense(arm, checkpoint, pool, config.pricing), config.policy
    running = amount_interval(1000 * request_usd(arm, checkpoint, config.pricing), settings)
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


def expense(arm: Arm, checkpoint: Checkpoint, pool: int, pricing: PricingConfig) -> cost.Expense:
    """Return what an arm takes to build and to run; `pool` is the size of the training split."""
    hours = pricing.person_hours.get(arm.checkpoint, 0.0) + pricing.person_hours.get(arm.prompt, 0.0)
    training = checkpoint.training
    labels = max(training.labels_used, pool if arm.labels_needed is None else arm.labels_needed)
    if checkpoint.price:
        tokens = float(_token_usd(arm, checkpoint.price).mean())
        return cost.Expense(0.0, labels, training, arm.search_seconds, hours, tokens, arm.search_usd)
    seconds = seconds_per_request(arm)
    return cost.Expense(seconds, labels, training, arm.search_seconds, hours, search_usd=arm.search_usd)


def request_usd(arm: Arm, checkpoint: Checkpoint, pricing: PricingConfig) -> Floats:
    """Return what each test request costs, shape (n,); the mean is the arm's running cost.

    On a machine of ours a batch has a time and a request has none: it gets the share of the tokens that were computed
    for it and that it wrote. So an interval is over what is asked, at the speed that was measured.
    """
    if checkpoint.price:
        return _token_usd(arm, checkpoint.price)
    counts = [(row.computed_tokens, row.output_tokens) for row in arm.test]
    tokens = [read + written for read, written in counts if read is not None and written is not None]
    known = len(tokens) == len(counts) and any(tokens)
    shares = np.array(tokens if known else [1] * len(counts), dtype=np.float64)
    return np.asarray(shares / shares.mean() * cost.usd_for_seconds(seconds_per_request(arm), pricing))


def _token_usd(arm: Arm, price: TokenPrice) -> Floats:
    """Return what the tokens of each test request cost, shape (n,). Raises RecordError where they are not known."""
    if not (price.usd_per_1m_input or price.usd_per_1m_output):
        return np.zeros(len(arm.test))
    found = []
    for row in arm.test:
        if row.input_tokens is None or row.output_tokens is None:
            raise RecordError(
                f"{arm.name}: the server did not tell how many tokens the answer to {row.id} took, so its cost is not"
                " known; if it costs nothing, set its prices to 0"
            )
        found.append(price.usd(row.input_tokens, row.output_tokens, row.cached_tokens or 0))
    return np.array(found, dtype=np.float64)


def seconds_per_request(arm: Arm) -> float:
    """Return the mean over test; a request's seconds are its share of its batch's, so they have no interval."""
    return float(np.mean([row.seconds for row in arm.test]))
