"""A small model without a language model as an arm: in the leaderboard, in the comparisons, and as the answer."""

from pathlib import Path

import pytest
from synthetic_study import REALISTIC, compare_and_report, settings, verdict_of, write_study

from whether.compare.compare import first_verdict
from whether.compare.decide import ArmSummary, decide, select
from whether.config import PolicyConfig
from whether.records import Comparison, Verdict, read_json

LINEAR = "baseline=[linear]"


def arm(name: str, kind: str, dev: float, cost: float) -> ArmSummary:
    return ArmSummary(name, kind, dev, 10.0, cost, {})  # type: ignore[arg-type]


def level_with(a: str, b: str, low: float = -0.02, high: float = 0.02) -> Comparison:
    conclusion = "equivalent" if max(-low, high) < 0.03 else "inconclusive"
    return Comparison(a, b, "accuracy", (low + high) / 2, low, high, 1.0, 1.0, 200, conclusion, "decision")


def test_the_arms_of_a_study_with_a_linear_classifier(tmp_path: Path) -> None:
    verdict = verdict_of(settings("curve=none", LINEAR), write_study(tmp_path, accuracies=REALISTIC | {"linear": 0.92}))
    found = verdict.arms["linear"]
    assert (found.checkpoint, found.prompt, found.answer) == ("linear", "", "neither")
    assert verdict.representatives["neither"] == "linear"
    # Planned comparisons are those of the arms that dev chose: with a fourth kind they are six.
    assert len([row for row in verdict.comparisons if row.family == "decision"]) == 6
    assert found.metrics["retention"].value is None
    assert found.metrics["computed_tokens"].value == 0
    assert found.metrics["labels_to_build"].value == 381
    assert found.metrics["disk"].value == 1_300_000
    assert found.metrics["usd_per_1k"].value < 0.01 * verdict.arms["lora-zero_shot"].metrics["usd_per_1k"].value
    assert "linear" not in verdict.training
    assert not any("linear" in (row.checkpoint, row.prompt) for row in verdict.interactions)


def test_a_limit_on_size_waits_for_the_benchmark_though_a_baseline_has_its_size_at_once(tmp_path: Path) -> None:
    config = settings("curve=none", LINEAR, "+policy.constraints.disk.max=1e6")
    study = write_study(tmp_path, accuracies=REALISTIC | {"linear": 0.92})
    first_verdict(config, artifacts=study, folder=tmp_path / "quick")
    first = read_json(tmp_path / "quick" / "verdict.json", Verdict)
    assert not first.excluded
    # The shipped policy names further metrics, without a limit.
    said = [reason for reason in first.reasons if "not checked yet" in reason]
    assert said == ["The constraint on disk is not checked yet: it is measured after the arms."]
    assert "linear" in verdict_of(config, study).excluded


def test_neither_is_the_answer_where_a_small_model_is_not_worse(tmp_path: Path) -> None:
    study = write_study(tmp_path, accuracies=REALISTIC | {"linear": 0.99}, sizes=(381, 104, 400))
    verdict = verdict_of(settings("curve=none", LINEAR, "pricing.usd_per_machine_hour=50"), study)
    assert (verdict.answer, verdict.recommended_arm) == ("neither", "linear")
    said = verdict.reasons[1]
    assert said.startswith("No language model is needed: linear answers without one")
    assert "not to be worse than any other by the margin of 3 points" in said


def test_of_equally_dear_arms_that_are_good_enough_the_one_without_a_language_model_is_taken() -> None:
    arms = [arm("lora-zero_shot", "fine_tune", 0.95, 3.2), arm("linear", "neither", 0.93, 3.1)]
    policy = PolicyConfig()
    selection = select(arms, {})
    rows = [level_with("lora-zero_shot", "linear", -0.02, 0.029)]
    found = decide(selection, rows, {"lora-zero_shot": 0.9, "linear": 0.9}, 0.2, policy)
    assert (found.answer, found.recommended) == ("no_difference", "linear")
    rows = [level_with("lora-zero_shot", "linear", -0.05, 0.029)]
    found = decide(selection, rows, {"lora-zero_shot": 0.9, "linear": 0.9}, 0.2, policy)
    assert (found.answer, found.recommended) == ("neither", "linear")


def test_a_small_model_that_may_be_worse_does_not_stand_in_the_way_of_an_arm_that_costs_the_same() -> None:
    arms = [arm("lora-zero_shot", "fine_tune", 0.95, 3.2), arm("linear", "neither", 0.93, 3.1)]
    rows = [level_with("lora-zero_shot", "linear", -0.02, 0.06)]
    found = decide(select(arms, {}), rows, {"lora-zero_shot": 0.9, "linear": 0.9}, 0.2, PolicyConfig())
    assert (found.answer, found.recommended, found.status["linear"]) == ("fine_tune", "lora-zero_shot", "undecided")


def test_a_small_model_that_may_be_good_enough_is_named(tmp_path: Path) -> None:
    study = write_study(tmp_path, accuracies=REALISTIC | {"linear": 0.915}, sizes=(381, 104, 500))
    verdict = verdict_of(settings("curve=none", LINEAR, "policy.cost_margin=0.9"), study)
    assert (verdict.answer, verdict.status["linear"]) == ("fine_tune", "undecided")
    said = [
        reason for reason in verdict.reasons if reason.startswith("Whether a language model is needed is not settled")
    ]
    assert len(said) == 1
    assert "linear, which answers without one, may lose up to" in said[0]


@pytest.mark.heavy
def test_the_page_shows_it(tmp_path: Path) -> None:
    study = write_study(tmp_path, accuracies=REALISTIC | {"linear": 0.92})
    compare_and_report(settings("curve=none", LINEAR), study, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "▲ neither" in page
    assert "without a language model" in page
