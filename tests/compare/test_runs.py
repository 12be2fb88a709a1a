"""Arms that were trained several times: their intervals hold what another training run would change."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from synthetic_study import REALISTIC, compare_and_report, settings, verdict_of, write_study

from tests.shipped_metrics import MACRO_F1, label_totals
from whether.compare.decide import ArmSummary
from whether.compare.sample_size import labels_needed, needs_more_runs
from whether.config import Config, PolicyConfig
from whether.records import read_json, read_jsonl
from whether.stats.inference import mean_interval, score_difference
from whether.stats.intervals import InferenceSettings, Interval, PairedDifference
from whether.stats.runs import _of_means
from whether.stats.totals import estimate_difference, estimate_interval

QUICK = InferenceSettings(resamples=200)
FURTHER = {f"lora_run{run}-{prompt}": REALISTIC[f"lora-{prompt}"] for run in (2, 3) for prompt in ("zero_shot", "knn")}


def right(runs: int, n: int, deviation: float, seed: int = 0, rate: float = 0.8) -> np.ndarray:
    """Right or wrong, shape (runs, n): an example is as hard in every run, and a run is as good at every example."""
    rng = np.random.default_rng(seed)
    total = rng.standard_normal(n) + deviation * rng.standard_normal((runs, 1)) + 0.5 * rng.standard_normal((runs, n))
    return (total < norm.ppf(rate) * np.sqrt(1.25 + deviation**2)).astype(float)


def test_the_variance_is_that_of_a_two_way_analysis_of_variance():
    scores = right(4, 60, 0.4)
    rows = [(score, run, unit) for run, line in enumerate(scores) for unit, score in enumerate(line)]
    frame = pd.DataFrame(rows, columns=["score", "run", "unit"])
    squares = anova_lm(ols("score ~ C(run) + C(unit)", frame).fit())["mean_sq"]
    found = _of_means(scores, QUICK)
    excess = squares["C(run)"] - squares["Residual"]
    assert excess > 0
    assert found.run_error**2 == pytest.approx(excess / scores.size)
    assert found.unit_error**2 == pytest.approx(squares["C(unit)"] / scores.size)
    assert found.spread(0.95).error ** 2 == pytest.approx(found.run_error**2 + found.unit_error**2)
    half = np.hypot(t.ppf(0.975, 3) * found.run_error, t.ppf(0.975, 59) * found.unit_error)
    assert np.ptp(found.spread(0.95).interval) == pytest.approx(2 * half)


def test_the_p_value_is_that_of_the_interval_that_ends_at_zero():
    scores, other = right(3, 100, 0.3), right(1, 100, 0.0, seed=1, rate=0.55)[0]
    found = _of_means(scores - other, QUICK)
    assert 1e-6 < found.p_value() < 0.5
    low, high = found.spread(1 - found.p_value()).interval
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9)
    assert score_difference(scores, other, QUICK).p_value == found.p_value()


def test_the_jackknife_of_a_mean_gives_its_scores_back():
    scores = right(3, 40, 0.3)
    direct = _of_means(scores, QUICK)
    by_jackknife = _of_means(scores, QUICK._replace(clusters=np.arange(40)))
    assert by_jackknife == pytest.approx(direct)


def test_runs_that_say_the_same_are_one_run():
    scores = right(1, 200, 0.0)
    found = score_difference(np.repeat(scores, 3, 0), right(1, 200, 0.0, seed=1)[0], QUICK)
    one = score_difference(scores[0], right(1, 200, 0.0, seed=1)[0], QUICK)
    assert found.run_error == 0
    assert found.difference == one.difference
    assert found.interval == pytest.approx(one.interval, abs=2e-3)  # Student's t in the place of the normal quantile


def test_runs_that_differ_make_intervals_wider_and_the_sign_turns_with_the_arms():
    scores, other = right(3, 500, 0.5), right(1, 500, 0.0, seed=1)[0]
    found, turned = score_difference(scores, other, QUICK), score_difference(other, scores, QUICK)
    one = score_difference(scores[0], other, QUICK)
    assert found.difference == pytest.approx(scores.mean() - other.mean())
    assert np.ptp(found.interval) > 1.5 * np.ptp(one.interval)
    assert turned.interval == pytest.approx((-found.interval.high, -found.interval.low))
    assert np.ptp(mean_interval(scores, QUICK)) > 1.5 * np.ptp(mean_interval(scores[0], QUICK))


def test_groups_of_equal_examples_count_as_their_number():
    scores, other = right(3, 80, 0.2), right(1, 80, 0.0, seed=1)[0]
    plain = score_difference(scores, other, QUICK)
    grouped = score_difference(
        np.repeat(scores, 4, 1), np.repeat(other, 4), QUICK._replace(clusters=np.repeat(np.arange(80), 4))
    )
    assert grouped.interval == pytest.approx(plain.interval)
    assert grouped.p_value == pytest.approx(plain.p_value)


def test_one_group_tells_nothing():
    found = score_difference(right(3, 20, 0.2), np.ones(20), QUICK._replace(clusters=np.zeros(20, dtype=int)))
    assert found.p_value == 1
    assert np.ptp(found.interval) > 1


def test_macro_f1_of_runs():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 300)
    answers = np.where(right(3, 300, 0.3) > 0, targets, (targets + 1) % 4)
    base = np.where(right(1, 300, 0.0, seed=1, rate=0.4)[0] > 0, targets, (targets + 1) % 4)
    interval = estimate_interval(label_totals(answers, targets), MACRO_F1, QUICK)
    found = estimate_difference(label_totals(answers, targets), label_totals(base, targets), MACRO_F1, QUICK)
    one = estimate_difference(label_totals(answers[0], targets), label_totals(base, targets), MACRO_F1, QUICK)
    assert 0 <= interval.low < interval.high <= 1
    assert np.ptp(found.interval) > np.ptp(one.interval)
    assert found.p_value < 0.01
    perfect = np.stack([targets] * 3)
    assert estimate_interval(label_totals(perfect, targets), MACRO_F1, QUICK).high == pytest.approx(1)
    assert estimate_interval(label_totals(perfect, targets), MACRO_F1, QUICK).low < 0.999


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_runs_without_any_spread_have_an_interval_of_some_width(value):
    low, high = mean_interval(np.full((3, 50), value), QUICK)
    assert high - low > 0.05
    found = score_difference(np.full((3, 50), value), np.full(50, value), QUICK)
    assert (found.difference, found.p_value) == (0, 1)
    assert np.ptp(found.interval) > 0.05


@pytest.mark.heavy
def test_intervals_hold_the_truth_of_training_where_those_of_one_run_do_not():
    kept = {"three runs": 0, "one run": 0}
    for study in range(400):
        scores, other = right(3, 200, 0.15, seed=study), right(1, 200, 0.0, seed=study + 1000)[0]
        for name, found in (
            ("three runs", score_difference(scores, other, QUICK)),
            ("one run", score_difference(scores[0], other, QUICK)),
        ):
            kept[name] += found.interval.low <= 0 <= found.interval.high  # both are right on 80% of all examples
    assert kept["three runs"] / 400 > 0.92
    assert kept["one run"] / 400 < kept["three runs"] / 400 - 0.02


def test_no_number_of_labels_is_named_where_training_runs_stand_in_the_way():
    arms = [ArmSummary("base-knn", "prompt", 0.9, 100, 1.0, {}), ArmSummary("lora-knn", "both", 0.9, 100, 2.0, {}, 3)]
    row = PairedDifference(0.0, Interval(-0.08, 0.08), 0.9, 200, 0.3, run_error=0.03)
    words = (["base-knn"], arms, {("base-knn", "lora-knn"): row}, PolicyConfig(margin=0.03), 0)
    assert labels_needed(*words) is None
    assert needs_more_runs(*words)
    assert not needs_more_runs(*words[:2], {("base-knn", "lora-knn"): row._replace(run_error=0.0)}, *words[3:])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = {name: rate for name, rate in REALISTIC.items() if "few_shot" not in name}
    return write_study(tmp_path_factory.mktemp("study"), accuracies=arms | FURTHER)


def chosen(*overrides: str) -> Config:
    return settings("policy.resamples=400", "prompt=[zero_shot,knn]", "curve=none", *overrides)


@pytest.mark.heavy
def test_a_verdict_on_three_training_runs(study, tmp_path):
    compare_and_report(chosen("training_runs=3"), study, tmp_path)
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["arms"].keys() == {"base-zero_shot", "base-knn", "lora-zero_shot", "lora-knn"}
    arm = verdict["arms"]["lora-zero_shot"]
    by_run = {
        split: [
            np.mean([row["score"] for row in read_jsonl(file) if row["split"] == split])
            for name in ("lora", "lora_run2", "lora_run3")
            for file in [study / "score" / f"{name}-zero_shot" / "predictions.jsonl"]
        ]
        for split in ("dev", "test")
    }
    assert arm["by_run"] == pytest.approx(by_run["test"])
    assert arm["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(by_run["test"]))
    assert arm["dev"]["accuracy"] == pytest.approx(np.mean(by_run["dev"]))
    assert arm["metrics"]["accuracy"]["n"] == 208
    assert verdict["arms"]["base-knn"]["by_run"] == []
    assert sum("over 3 runs" in reason for reason in verdict["reasons"]) == 1
    assert "mean of 3 training runs" in (tmp_path / "report.html").read_text()
    assert read_json(tmp_path / "metrics.json").keys() == verdict["arms"].keys()


@pytest.mark.heavy
def test_the_policy_can_ask_for_training_runs(study):
    loose = verdict_of(chosen("policy.margin=0.05"), study)
    assert loose.answer != "inconclusive"
    strict = verdict_of(chosen("policy.margin=0.05", "policy.training_runs=3"), study)
    assert (strict.answer, strict.recommended_arm) == ("inconclusive", loose.recommended_arm)
    assert any("set training_runs=3" in reason for reason in strict.reasons)
    assert strict.further_labels is None
    assert (
        verdict_of(chosen("policy.margin=0.05", "policy.training_runs=3", "training_runs=3"), study).answer
        != "inconclusive"
    )
