"""From scores and costs to the answer: every answer, on cases made for it, and how often it is wrong by chance."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from tests.shipped_metrics import metric
from whether.compare.decide import ArmSummary, Decision, approach_of, comparisons, decide, select
from whether.compare.reasons import collapsed_sentences, reasons
from whether.compare.sample_size import labels_needed
from whether.config import ConstraintConfig, PolicyConfig
from whether.metrics.catalogue import measurement
from whether.records import Comparison, Measurement
from whether.stats.inference import score_difference
from whether.stats.intervals import InferenceSettings, Interval, PairedDifference, rate_interval
from whether.stats.simultaneous import simultaneous_differences

ACCURACY = metric("accuracy")
POLICY = PolicyConfig(margin=0.03, resamples=100)
METRICS = {"latency_p95": 0.1, "usd_per_1k": 0.01, "peak_memory": 1e9, "valid_rate": 1.0, "retention_change": 0.0,
           "consistency": 1.0}  # fmt: skip
KINDS = {"base-zero_shot": "prompt", "base-knn": "prompt", "lora-zero_shot": "fine_tune", "lora-knn": "both"}


def candidate(
    name: str, dev: float = 0.9, cost: float = 1.0, tokens: float = 100, **metrics: float | None
) -> ArmSummary:
    return ArmSummary(name, KINDS[name], dev, tokens, cost, METRICS | metrics)


def difference(value: float, half: float, p: float, n: int = 208) -> PairedDifference:
    return PairedDifference(value, Interval(value - half, value + half), p, n, half / 1.96 * n**0.5)


def family_of(differences: dict, scores: dict | None = None) -> list[Comparison]:
    """The decision's comparisons: at other levels intervals are those of `scores`, or normal ones."""

    def at_level(pair: tuple[str, str], level: float) -> Interval:
        if scores:
            return score_difference(scores[pair[0]], scores[pair[1]], InferenceSettings(level)).interval
        value, half = differences[pair].difference, norm.isf((1 - level) / 2) / 1.96 * differences[pair].deviation
        half *= 1.96 / differences[pair].n ** 0.5
        return Interval(value - half, value + half)

    found = simultaneous_differences(differences, at_level, 1 - POLICY.alpha)
    return comparisons(found, "accuracy", "decision", POLICY)


def answer(arms: list[ArmSummary], differences: dict, lows: float = 0.8, baseline: float = 0.15) -> Decision:
    selection = select(arms, POLICY.constraints)
    family = family_of(differences)
    decision = decide(selection, family, dict.fromkeys(KINDS, lows), baseline, POLICY)
    further = labels_needed(decision.blocking, list(selection.representatives.values()), differences, POLICY, 0)
    quality = dict.fromkeys(KINDS, Measurement(0.9, "fraction", True, lows, 0.95, 208))
    sentences = reasons(
        decision,
        selection,
        family,
        quality=quality,
        baseline=baseline,
        further=further,
        metric=ACCURACY.info,
        policy=POLICY,
    )
    assert all(sentence.endswith(".") and "  " not in sentence for sentence in sentences)
    assert (further is None) or decision.outcome == "undecided"
    return decision


PROMPT, TUNED, BOTH = candidate("base-knn", cost=2), candidate("lora-zero_shot", cost=3), candidate("lora-knn", cost=5)
WORSE_PROMPT = {("base-knn", "lora-zero_shot"): difference(-0.09, 0.04, 1e-4)}
CLOSE = {("lora-zero_shot", "lora-knn"): difference(0.0, 0.02, 1.0)}


def test_kinds_of_arms():
    assert [approach_of(tuned, engineered) for tuned in (False, True) for engineered in (False, True)] == [
        "prompt", "prompt", "fine_tune", "both",
    ]  # fmt: skip


def test_fine_tune_where_prompts_are_worse_and_combining_adds_nothing():
    found = answer(
        [PROMPT, TUNED, BOTH], WORSE_PROMPT | CLOSE | {("base-knn", "lora-knn"): difference(-0.09, 0.04, 1e-4)}
    )
    assert (found.answer, found.recommended, found.status["base-knn"]) == ("fine_tune", "lora-zero_shot", "rejected")


def test_prompt_where_it_is_not_worse_and_cheaper():
    found = answer([PROMPT, TUNED], {("base-knn", "lora-zero_shot"): difference(0.04, 0.05, 0.1)})
    assert (found.answer, found.recommended) == ("prompt", "base-knn")


def test_both_where_it_beats_the_cheaper_ones():
    found = answer(
        [PROMPT, TUNED, BOTH],
        WORSE_PROMPT
        | {
            ("base-knn", "lora-knn"): difference(-0.2, 0.04, 1e-9),
            ("lora-zero_shot", "lora-knn"): difference(-0.11, 0.04, 1e-5),
        },
    )
    assert (found.answer, found.recommended) == ("both", "lora-knn")


def test_no_difference_where_every_pair_is_equivalent_recommends_the_cheapest():
    found = answer([PROMPT, TUNED], {("base-knn", "lora-zero_shot"): difference(0.001, 0.02, 0.9)})
    assert (found.answer, found.recommended) == ("no_difference", "base-knn")


def test_inconclusive_where_the_cheaper_arm_is_undecided():
    differences = {("base-knn", "lora-zero_shot"): difference(-0.02, 0.045, 0.4)}
    found = answer([PROMPT, TUNED], differences)
    assert (found.answer, found.recommended, found.blocking) == ("inconclusive", "lora-zero_shot", ["base-knn"])


def test_inconclusive_where_none_is_acceptable_guesses_the_cheapest_within_the_margin():
    found = answer([PROMPT, TUNED], {("base-knn", "lora-zero_shot"): difference(-0.01, 0.05, 0.7)})
    assert (found.answer, found.recommended) == ("inconclusive", "base-knn")
    assert found.blocking == ["base-knn", "lora-zero_shot"]


@pytest.mark.parametrize("cost", [2.9, 3.0, 3.1])
def test_noise_in_measured_times_does_not_change_the_guess(cost):
    rival = candidate("lora-knn", cost=cost, dev=0.91)
    found = answer([TUNED, rival], {("lora-zero_shot", "lora-knn"): difference(-0.01, 0.05, 0.7)})
    assert (found.answer, found.recommended) == ("inconclusive", "lora-knn")


def test_an_undecided_arm_that_costs_more_stands_in_nobodys_way():
    found = answer([PROMPT, TUNED], {("base-knn", "lora-zero_shot"): difference(0.02, 0.045, 0.4)})
    assert found.answer == "prompt"


@pytest.mark.parametrize("cost", [2.9, 3.0, 3.1])
def test_noise_in_measured_times_does_not_change_the_answer(cost):
    rival = candidate("lora-knn", cost=cost, dev=0.89)
    differences = {
        ("base-knn", "lora-zero_shot"): difference(-0.09, 0.04, 1e-4),
        ("base-knn", "lora-knn"): difference(-0.08, 0.04, 1e-3),
        ("lora-zero_shot", "lora-knn"): difference(0.02, 0.04, 0.4),
    }
    found = answer([PROMPT, TUNED, rival], differences)
    assert (found.answer, found.recommended, found.status["lora-knn"]) == ("fine_tune", "lora-zero_shot", "undecided")


def test_floor_where_the_best_arm_is_not_above_the_most_frequent_answer():
    found = answer([PROMPT, TUNED], WORSE_PROMPT, lows=0.14, baseline=0.15)
    assert (found.answer, found.outcome) == ("inconclusive", "floor")


def test_one_kind_only():
    found = answer([candidate("base-zero_shot", dev=0.1), candidate("base-knn", dev=0.8)], {})
    assert (found.answer, found.recommended, found.outcome) == ("prompt", "base-knn", "only")


def test_a_claim_of_difference_needs_the_adjusted_p_value():
    three = {
        ("base-knn", "lora-zero_shot"): difference(-0.05, 0.045, 0.03),
        ("base-knn", "lora-knn"): difference(-0.05, 0.06, 0.1),
        ("lora-zero_shot", "lora-knn"): difference(0, 0.02, 1.0),
    }
    assert family_of(three)[0].conclusion == "b_not_worse"
    alone = dict([next(iter(three.items()))])
    assert family_of(alone)[0].conclusion == "b_better"


def test_test_is_not_used_to_choose_and_ties_on_dev_go_to_fewer_tokens():
    tie = [candidate("base-zero_shot", dev=0.8, tokens=90, cost=9), candidate("base-knn", dev=0.8, tokens=300, cost=1)]
    assert select(tie, {}).representatives["prompt"].name == "base-zero_shot"


@pytest.mark.parametrize(
    ("limits", "measured", "kept"),
    [
        ({"latency_p95": {"max": 0.2}}, {"latency_p95": 0.3}, False),
        ({"latency_p95": {"max": 0.2}}, {"latency_p95": 0.2}, True),
        ({"latency_p95": {"max": 0.2}}, {"latency_p95": None}, False),
        ({"usd_per_1k": {"max": 0.02}}, {"usd_per_1k": 0.03}, False),
        ({"peak_memory": {"max": 2e9}}, {"peak_memory": 3e9}, False),
        ({"valid_rate": {"min": 0.99}}, {"valid_rate": 0.98}, False),
        ({"valid_rate": {"min": 0.99}}, {"valid_rate": 0.99}, True),
        ({"consistency": {"min": 0.9}}, {"consistency": 0.8}, False),
        ({"consistency": {"min": 0.9}}, {"consistency": 0.95}, True),
        ({"consistency": {"min": 0.9}}, {"consistency": None}, False),
        ({"retention_change": {"min": -0.02}}, {"retention_change": -0.05}, False),
        ({"retention_change": {"min": -0.02}}, {"retention_change": 0.05}, True),
        ({"disk": {"max": 5e7}}, {"disk": 6e7}, False),
        ({"disk": {"max": 5e7}}, {}, False),
        ({"disk": {"max": None}, "perplexity": None}, {}, True),
        ({}, {"latency_p95": None}, True),
    ],
)
def test_hard_constraints(limits, measured, kept):
    constraints = PolicyConfig(constraints=limits).constraints
    selection = select([candidate("lora-zero_shot", **measured)], constraints)
    assert bool(selection.representatives) is kept
    assert ("lora-zero_shot" in selection.excluded) is not kept


@pytest.mark.parametrize(
    ("metric", "constraint", "measured", "sentence"),
    [
        ("valid_rate", ConstraintConfig(min=0.9), 0.8,
         "base-knn has valid outputs of 80.0%; at least 90.0% is required."),
        ("retention_change", ConstraintConfig(min=-0.02), -0.05,
         "base-knn has retention change of −5.0 points; at least −2.0 points is required."),
        ("consistency", ConstraintConfig(min=0.9), None,
         "base-knn has no measured agreement of samples; at least 90.0% is required."),
        ("disk", ConstraintConfig(max=2**20), 2**21, "base-knn has disk of 2 MiB; at most 1 MiB is required."),
    ],
)  # fmt: skip
def test_a_broken_constraint_is_a_sentence_with_both_numbers(metric, constraint, measured, sentence):
    selection = select([candidate("base-knn", **{metric: measured})], {metric: constraint})
    assert selection.excluded == {"base-knn": sentence}


def test_no_arm_left():
    selection = select([candidate("base-knn", latency_p95=9.0)], {"latency_p95": ConstraintConfig(max=1.0)})
    found = decide(selection, [], {}, 0.1, POLICY)
    assert (found.answer, found.recommended) == ("inconclusive", None)
    said = reasons(found, selection, [], quality={}, baseline=0.1, further=None, metric=ACCURACY.info, policy=POLICY)
    assert "base-knn has latency p95 of 9 s; at most 1 s is required." in said


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-0.10, -0.02, "Tuning cost general ability"), (-0.10, 0.01, "No loss of general ability")],
)
def test_what_tuning_did_to_general_ability_is_said(low, high, said):
    selection = select([candidate("lora-zero_shot")], {})
    found = decide(selection, [], {"lora-zero_shot": 0.9}, 0.1, POLICY)
    quality = {"lora-zero_shot": ACCURACY.measurement(0.95, (0.9, 0.98), 200)}
    change = measurement("retention_change", -0.059, (low, high), 411)
    sentences = reasons(
        found, selection, [], quality=quality, baseline=0.1, further=None, metric=ACCURACY.info, policy=POLICY,
        retention_change=change,
    )  # fmt: skip
    assert any(sentence.startswith(said) and "−5.9 points (−10.0 to" in sentence for sentence in sentences)


def arms_by_correlation(rng: np.random.Generator, n: int, rates: list[float]) -> list[np.ndarray]:
    shared, use = rng.random(n), rng.random((len(rates), n)) < 0.7
    own = rng.random((len(rates), n))
    return [(np.where(use[k], shared, own[k]) < rate).astype(float) for k, rate in enumerate(rates)]


def study(
    rng: np.random.Generator, n: int, rates: list[float]
) -> tuple[list[ArmSummary], dict, list[Comparison], dict[str, float]]:
    arms = [PROMPT, TUNED, BOTH]
    scores = dict(zip((arm.name for arm in arms), arms_by_correlation(rng, n, rates), strict=True))
    found = {(a, b): score_difference(scores[a], scores[b], InferenceSettings()) for a, b in combinations(scores, 2)}
    return (
        arms,
        found,
        family_of(found, scores),
        {name: rate_interval(row.sum(), n, 0.95).low for name, row in scores.items()},
    )


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [0.9, 0.6])
def test_false_claims_of_a_difference_are_rare(rate):
    rng, runs, false = np.random.default_rng(1), 300, 0
    for _ in range(runs):
        _, _, family, _ = study(rng, 150, [rate] * 3)
        false += any(row.conclusion in ("a_better", "b_better") for row in family)
    assert false / runs <= 0.05 + 2.6 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.heavy
def test_false_claims_of_not_worse_are_rare():
    rng, runs, false = np.random.default_rng(2), 300, 0
    for _ in range(runs):
        arms, _, family, lows = study(rng, 400, [0.87, 0.87, 0.9])
        status = decide(select(arms, POLICY.constraints), family, lows, 0.2, POLICY).status
        false += "acceptable" in (status["base-knn"], status["lora-zero_shot"])
    assert false / runs <= 0.05 + 2.6 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.heavy
@pytest.mark.parametrize("rates", [[0.86, 0.93, 0.93], [0.92, 0.92, 0.92], [0.9, 0.93, 0.91]])
def test_further_labels_settle_most_cases(rates):
    rng, settled, asked = np.random.default_rng(3), 0, 0
    for _ in range(40):
        arms, found, family, lows = study(rng, 200, rates)
        selection = select(arms, POLICY.constraints)
        first = decide(selection, family, lows, 0.2, POLICY)
        further = labels_needed(first.blocking, arms, found, POLICY, 0)
        if not further:
            continue
        asked += 1
        _, _, family, lows = study(rng, min(200 + further, 30_000), rates)
        second = decide(selection, family, lows, 0.2, POLICY)
        settled += second.answer != "inconclusive"
    assert asked > 10
    assert settled / asked >= 0.7


def test_an_arm_that_gives_one_answer_to_nearly_everything_is_named_with_advice():
    (sentence,) = collapsed_sentences({"lora-zero_shot": ("neutral", 0.98), "lora-knn": None})
    assert sentence.startswith("lora-zero_shot has collapsed: it gives one answer, neutral, to 98% of")
    assert "tuner.balanced=true" in sentence
