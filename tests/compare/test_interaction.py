"""Does combining add more than its parts?"""

from pathlib import Path

import pytest
from synthetic_study import settings, write_study

from whether.compare.interaction import MIN_READ_RATE, interactions, unreported_interactions
from whether.compare.measure import arm_kind, scores
from whether.compare.results import Results, load_results
from whether.stats.intervals import InferenceSettings

SETTINGS = InferenceSettings(resamples=2000)


def study(folder: Path, **accuracies: float) -> Results:
    named = {name.replace("__", "-"): accuracy for name, accuracy in accuracies.items()}
    artifacts = write_study(folder, accuracies=named, sizes=(40, 20, 400))
    prompts = ",".join(dict.fromkeys(name.split("-")[1] for name in named))
    checkpoints = ",".join(dict.fromkeys(name.split("-")[0] for name in named))
    return load_results(settings(f"prompt=[{prompts}]", f"checkpoint=[{checkpoints}]", "curve=none"), artifacts)


@pytest.mark.heavy
def test_the_number_is_that_of_the_four_arms(tmp_path: Path) -> None:
    found = study(
        tmp_path, base__zero_shot=0.3, base__knn=0.8, base__few_shot=0.5, lora__zero_shot=0.9, lora__knn=0.92,
        lora__few_shot=0.9,
    )  # fmt: skip
    rows = {row.prompt: row for row in interactions(found, SETTINGS)}
    assert set(rows) == {"knn", "few_shot"}
    means = {name: scores(arm.test).mean() for name, arm in found.arms.items()}
    expected = means["lora-knn"] - means["lora-zero_shot"] - means["base-knn"] + means["base-zero_shot"]
    assert rows["knn"].difference == pytest.approx(expected)
    assert rows["knn"].ci_low < rows["knn"].difference < rows["knn"].ci_high < 0
    assert rows["knn"].p_adjusted < 0.05
    assert rows["knn"].reason.endswith("together they add less than their parts.")
    assert rows["knn"].n == 400
    assert rows["few_shot"].p_adjusted >= rows["few_shot"].p_value


@pytest.mark.heavy
def test_chance_is_called_chance(tmp_path: Path) -> None:
    found = study(tmp_path, base__zero_shot=0.5, base__knn=0.6, lora__zero_shot=0.7, lora__knn=0.8)
    [row] = interactions(found, SETTINGS)
    assert row.ci_low < 0 < row.ci_high
    assert row.reason.endswith("that can be chance.")


@pytest.mark.heavy
def test_without_all_four_arms_there_is_none(tmp_path: Path) -> None:
    assert interactions(study(tmp_path / "a", base__zero_shot=0.5, base__knn=0.6), SETTINGS) == []
    assert interactions(study(tmp_path / "b", base__knn=0.5, lora__knn=0.6), SETTINGS) == []


@pytest.mark.heavy
def test_constrained_answers_are_no_engineering_and_the_better_plain_prompt_is_compared_with(tmp_path: Path) -> None:
    found = study(
        tmp_path, base__zero_shot_unconstrained=0.02, base__zero_shot=0.4, base__knn=0.8,
        lora__zero_shot_unconstrained=0.9, lora__zero_shot=0.9, lora__knn=0.92,
    )  # fmt: skip
    assert {name: arm_kind(arm) for name, arm in found.arms.items()} == {
        "base-zero_shot_unconstrained": "prompt", "base-zero_shot": "prompt", "base-knn": "prompt",
        "lora-zero_shot_unconstrained": "fine_tune", "lora-zero_shot": "fine_tune", "lora-knn": "both",
    }  # fmt: skip
    [row] = interactions(found, SETTINGS)
    means = {name: scores(arm.test).mean() for name, arm in found.arms.items()}
    plain = means["lora-zero_shot"] - means["base-zero_shot"]
    assert row.difference == pytest.approx(means["lora-knn"] - means["base-knn"] - plain)


@pytest.mark.heavy
@pytest.mark.parametrize("failing", ["base-zero_shot", "base-knn", "lora-zero_shot", "lora-knn"])
def test_an_arm_that_fails_by_form_has_no_interaction_and_is_named(failing: str, tmp_path: Path) -> None:
    """Of the wrong answers of an arm a share lacks the form; the other prompt of the study is as before."""
    accuracies = dict.fromkeys(("base-zero_shot", "base-knn", "lora-zero_shot", "lora-knn"), 0.7)
    whole = {"base-few_shot": 0.7, "lora-few_shot": 0.7}
    named = {**accuracies, **whole, failing: 0.1}
    config = settings("prompt=[zero_shot,knn,few_shot]", "checkpoint=[base,lora]", "curve=none")

    def found(invalid: float) -> Results:
        folder = tmp_path / str(invalid)
        artifacts = write_study(folder, accuracies=named, sizes=(40, 20, 200), invalid={failing: invalid})
        return load_results(config, artifacts)

    is_plain = failing.endswith("zero_shot")
    kept = found(0.3)
    assert [row.prompt for row in interactions(kept, SETTINGS)] == ["knn", "few_shot"]
    assert unreported_interactions(kept) == []
    broken = found(0.9)
    left = [] if is_plain else ["few_shot"]
    assert [row.prompt for row in interactions(broken, SETTINGS)] == left
    read = sum(row.answer is not None for row in broken.arms[failing].test) / 200
    sentences = unreported_interactions(broken)
    assert sentences[0] == (
        "What knn adds to lora is not compared with what it adds to base: only"
        f" {100 * read:.0f}% of the outputs of {failing} give an answer."
    )
    assert len(sentences) == (2 if is_plain else 1)
    assert read < MIN_READ_RATE
