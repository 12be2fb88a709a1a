"""How many more labels are asked for."""

from itertools import combinations

import numpy as np
import pytest

from whether.compare.decide import ArmSummary
from whether.compare.sample_size import MAX_LABELS, labels_needed
from whether.config import PolicyConfig
from whether.stats.inference import score_difference
from whether.stats.intervals import InferenceSettings, Interval, PairedDifference
from whether.stats.simultaneous import covariance_root

POLICY = PolicyConfig(margin=0.03)
ARMS = [ArmSummary("base-knn", "prompt", 0.9, 100, 1.0, {}), ArmSummary("lora-knn", "both", 0.9, 100, 2.0, {})]


def further(difference: float, deviation: float = 0.3, n: int = 200, policy: PolicyConfig = POLICY) -> int | None:
    half = 1.96 * deviation / n**0.5
    row = PairedDifference(difference, Interval(difference - half, difference + half), 0.2, n, deviation)
    return labels_needed(["base-knn"], ARMS, {("base-knn", "lora-knn"): row}, policy, 0)


def test_nothing_is_asked_for_where_nothing_blocks():
    assert labels_needed([], ARMS, {}, POLICY, 0) is None


def test_more_is_asked_for_where_the_difference_is_nearer_to_the_margin_or_varies_more():
    assert further(-0.005) < further(-0.02)
    assert further(0.0, deviation=0.3) < further(0.0, deviation=0.5)


def test_no_number_of_labels_is_named_where_too_many_would_be_needed():
    assert further(0.0, n=20_000, policy=PolicyConfig(margin=0.0005)) is None
    assert further(-0.02, n=2_000) < MAX_LABELS


def test_a_wider_margin_needs_fewer():
    assert further(0.0, policy=PolicyConfig(margin=0.06)) < further(0.0)


def test_differences_of_three_arms_vary_together_as_observed():
    rng = np.random.default_rng(0)
    hard = rng.standard_normal(5_000)
    cuts = {"a": 1.0, "b": 1.5, "c": 0.5}
    arms = {name: (hard + rng.standard_normal(5_000) < cut).astype(float) for name, cut in cuts.items()}
    found = {
        (x, y): score_difference(arms[x], arms[y], InferenceSettings(resamples=100)) for x, y in combinations("abc", 2)
    }
    root = covariance_root(list(found), np.array([row.deviation for row in found.values()]))
    observed = np.cov([arms[x] - arms[y] for x, y in found])
    assert root.T @ root == pytest.approx(observed, abs=2e-3)
