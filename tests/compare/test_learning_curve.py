"""Fits, crossovers and their intervals on data whose truth is known; every outcome; the report and the terminal."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest
from rich.console import Console
from synthetic_curve import law, scores, true_crossover, write_curve
from synthetic_study import compare_and_report, settings, verdict_of, write_study

from tests.shipped_metrics import label_totals, metric
from whether.compare.curve_points import CurveData, load_points
from whether.compare.learning_curve import by_seed, find_crossover, fit_curves, resample, weighted
from whether.errors import RecordError
from whether.records import (
    Crossover,
    CurvePoint,
    LearningCurve,
    Verdict,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)
from whether.report.terminal import print_verdict
from whether.stats.intervals import InferenceSettings
from whether.stats.power_law import PowerLaws, crossings, fit

LABELS = (20, 50, 120)
TUNED, KNN, FEW_SHOT = law(0.45, 0.98, 1.0, 20), law(0.7, 0.9, 0.5, 20), law(0.4, 0.4, 1.0, 20)
WAYS = {"lora-zero_shot": TUNED, "base-few_shot": FEW_SHOT, "base-knn": KNN}


def compared(artifacts: Path, folder: Path, *overrides: str) -> Verdict:
    compare_and_report(settings("policy.resamples=500", *overrides), artifacts, folder)
    return read_json(folder / "verdict.json", Verdict)


def verdict_on(artifacts: Path, *overrides: str) -> Verdict:
    return verdict_of(settings("policy.resamples=500", *overrides), artifacts)


def curve_of(verdict: Verdict) -> tuple[LearningCurve, Crossover]:
    curve = verdict.learning_curve
    assert curve is not None
    assert curve.crossover is not None
    return curve, curve.crossover


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_curve(write_study(tmp_path_factory.mktemp("study")), WAYS)


@pytest.fixture(scope="module")
def folder(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    compared(artifacts, folder)
    return folder


@pytest.mark.parametrize("truth", [(0.3, 0.95, 0.7), (0.0, 0.9, 1.5), (0.6, 1.0, 0.3), (0.5, 0.5, 1.0)])
def test_a_power_law_is_found_again(truth: tuple[float, float, float]) -> None:
    labels = np.array([10.0, 20, 40, 80, 160])
    quality = np.array([[law(*truth, 10)(number) for number in labels]])
    fitted = fit(labels, quality).at(labels / 10)
    np.testing.assert_allclose(fitted, quality, atol=0.004)


@pytest.mark.heavy
def test_the_fit_is_the_best_one_that_scipy_finds() -> None:
    from scipy.optimize import least_squares

    rng, labels = np.random.default_rng(0), np.array([10.0, 20, 40, 80, 160])
    for quality in rng.random((20, 5)):
        laws = fit(labels, quality[None])
        ours = float(((laws.at(labels / 10)[0] - quality) ** 2).sum())

        def residuals(values: np.ndarray, quality: np.ndarray = quality) -> np.ndarray:
            low, part, rate = values
            return (low + part * (1 - low) * (1 - (labels / 10) ** -rate)) - quality

        starts = [(0.2, 0.5, rate) for rate in (0.1, 0.5, 1.0, 3.0)]
        found = [least_squares(residuals, start, bounds=([0, 0, 0.05], [1, 1, 4])) for start in starts]
        assert ours <= 2 * min(result.cost for result in found) + 1e-3


def test_fitted_curves_never_fall_and_stay_between_0_and_1() -> None:
    rng, labels = np.random.default_rng(1), np.array([20.0, 50, 120, 300])
    for levels in (1, 2, 3, 4):
        laws = fit(labels[:levels], np.clip(rng.normal(0.5, 0.5, (500, levels)), 0, 1))
        values = laws.at(np.geomspace(1, 1000, 50))
        assert values.min() >= -1e-12
        assert values.max() <= 1 + 1e-12
        assert np.diff(values, axis=1).min() >= -1e-12


def test_where_curves_cross() -> None:
    labels = np.array([10.0, 40, 160])

    def laws(*rows: tuple[float, float, float]) -> PowerLaws:
        low, top, rate = np.array(rows).T
        return PowerLaws(low, top, rate)

    flat = (0.5, 0.5, 1.0)
    rising = (0.25, 0.75, 0.5)  # 0.75 - 0.5 · (n / 10)^-½ is 0.5 where n = 40
    found = crossings(labels, laws(rising, flat, flat, (0.6, 0.7, 1.0)), laws(flat, rising, flat, flat))
    assert found[0] == pytest.approx(40, rel=1e-3)
    assert found[1:].tolist() == [np.inf, np.inf, -np.inf]


def test_the_crossover_with_its_interval_and_price(folder: Path) -> None:
    curve, crossover = curve_of(read_json(folder / "verdict.json", Verdict))
    truth = true_crossover(TUNED, KNN, 20, 120)
    assert crossover.outcome == "at"
    assert crossover.ci_low is not None
    assert crossover.ci_low <= truth <= (crossover.ci_high or np.inf)
    assert crossover.usd == pytest.approx(0.1 * (crossover.labels or 0))
    assert sum(crossover.shares.values()) == pytest.approx(1)
    assert (curve.dev_labels, curve.dev_usd, curve.test_examples) == (50, 5.0, 100)
    assert [level.labels for level in curve.levels] == [20, 50, 120]
    assert [level.usd for level in curve.levels] == [2.0, 5.0, 12.0]
    assert f"overtakes the best prompt at about {crossover.labels} labels" in curve.reasons[0]


@pytest.mark.heavy
def test_numbers_are_those_of_the_answers_and_the_prompt_is_chosen_on_dev(folder: Path, artifacts: Path) -> None:
    curve, _ = curve_of(read_json(folder / "verdict.json", Verdict))
    points = load_points(settings().curve, artifacts)
    for level in curve.levels:
        assert level.chosen == {"base-knn": 2}
        for seed in (0, 1):
            for value, arm in ((level.tuned, "lora-zero_shot"), (level.prompting, "base-knn")):
                test = [row.score for row in points[level.labels, seed].arms[arm].test.values()]
                assert value.by_seed[seed] == pytest.approx(np.mean(test))
        assert level.tuned.mean.value == pytest.approx(np.mean(level.tuned.by_seed))
        assert level.tuned.mean.ci_low < level.tuned.mean.value < level.tuned.mean.ci_high
        assert level.difference.ci_low < level.difference.value < level.difference.ci_high
    rows = list(csv.DictReader((folder / "learning_curve.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert float(rows[0]["tuned_accuracy"]) == curve.levels[0].tuned.by_seed[0]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("tuned", "outcome", "words"),
    [
        (law(0.95, 0.99, 1.0, 20), "ahead", "is ahead of the best prompt from 20 labels on, the smallest number"),
        (law(0.2, 0.4, 1.0, 20), "not_reached", "does not overtake the best prompt with up to 120 labels"),
    ],
)
def test_a_crossover_outside_of_what_was_measured(
    tuned: object, outcome: str, words: str, artifacts: Path, tmp_path: Path
) -> None:
    write_curve(write_study(tmp_path / "artifacts"), {**WAYS, "lora-zero_shot": tuned})
    curve, crossover = curve_of(verdict_on(tmp_path / "artifacts"))
    assert (crossover.outcome, crossover.labels, crossover.usd) == (outcome, None, None)
    assert words in curve.reasons[0]
    assert "20 or fewer" in curve.reasons[0] if outcome == "ahead" else "more than 120" in curve.reasons[0]
    assert crossover.ci_low is None if outcome == "ahead" else crossover.ci_high is None


@pytest.mark.heavy
@pytest.mark.parametrize(("labels", "seeds"), [((20, 50), (0,)), ((50,), (0, 1)), ((20, 50, 120, 300), (0,))])
def test_few_points_are_enough_for_a_statement(labels: tuple[int, ...], seeds: tuple[int, ...], tmp_path: Path) -> None:
    artifacts = write_curve(write_study(tmp_path / "artifacts"), WAYS, labels=labels, seeds=seeds)
    overrides = (f"curve.labels={list(labels)}".replace(" ", ""), f"curve.seeds={list(seeds)}".replace(" ", ""))
    verdict = verdict_on(artifacts, *overrides)
    curve, _ = curve_of(verdict)
    assert [level.labels for level in curve.levels] == list(labels)
    assert any("There is one seed" in reason for reason in curve.reasons) == (len(seeds) == 1)
    spread = [reason for reason in verdict.reasons if reason.startswith("Training varies too")]
    assert len(spread) == (len(seeds) > 1 and verdict.arms[verdict.recommended_arm].checkpoint == curve.checkpoint)
    if spread:
        deviation = 100 * stdev(curve.levels[-1].tuned.by_seed)
        assert f"over {len(seeds)} seeds with {labels[-1]} labels" in spread[0]
        assert f"standard deviation of {deviation:.1f} points" in spread[0]
    write_json(tmp_path / "verdict.json", verdict)
    assert "NaN" not in (tmp_path / "verdict.json").read_text()


@pytest.mark.heavy
def test_macro_f1_and_text_tasks_have_a_curve(artifacts: Path, tmp_path: Path) -> None:
    curve, _ = curve_of(verdict_on(artifacts, "policy.metric=macro_f1"))
    assert curve.metric == "macro_f1"
    assert 0 < (curve.levels[0].tuned.mean.value or 0) < (curve.levels[-1].tuned.mean.value or 0) < 1
    text = write_curve(write_study(tmp_path / "artifacts", output="text"), WAYS)
    curve, _ = curve_of(verdict_on(text))
    assert curve.metric == "exact_match"


@pytest.mark.heavy
def test_all_right_or_all_wrong_is_no_trouble(tmp_path: Path) -> None:
    always, never = (law(value, value, 1.0, 20) for value in (1.0, 0.0))
    ways = {"lora-zero_shot": always, "base-knn": never}
    artifacts = write_study(tmp_path / "artifacts", accuracies={"base-knn": 0.5, "lora-knn": 0.9})
    write_curve(artifacts, ways, seed_deviation=0.0)
    curve, crossover = curve_of(verdict_on(artifacts, "prompt=[knn]"))
    assert (crossover.outcome, curve.reference) == ("ahead", None)
    assert curve.levels[0].tuned.mean.ci_low < 1
    assert curve.levels[0].difference.ci_low is None


@pytest.mark.heavy
def test_the_prompt_without_labels_counts_where_it_is_the_best(tmp_path: Path) -> None:
    accuracies = {"base-zero_shot": 0.8, "base-knn": 0.5, "lora-zero_shot": 0.9, "lora-knn": 0.9}
    artifacts = write_study(tmp_path / "artifacts", accuracies=accuracies)
    write_curve(artifacts, {"lora-zero_shot": TUNED, "base-knn": law(0.3, 0.4, 1.0, 20)})
    curve, _ = curve_of(verdict_on(artifacts, "prompt=[zero_shot,knn]"))
    assert [level.chosen for level in curve.levels] == [{"base-zero_shot": 2}] * 3
    assert curve.reference is not None
    assert {level.prompting.mean.value for level in curve.levels} == {curve.reference.value}


@pytest.mark.heavy
def test_no_curve_is_null(tmp_path: Path, artifacts: Path) -> None:
    bare = write_study(tmp_path / "artifacts")
    verdict = compared(bare, tmp_path / "compare")
    assert verdict.learning_curve is None
    assert json.loads((tmp_path / "compare" / "verdict.json").read_text())["learning_curve"] is None
    page = (tmp_path / "compare" / "report.html").read_text()
    assert "How many labels" not in page
    assert not (tmp_path / "compare" / "learning_curve.csv").exists()
    assert verdict_on(artifacts, "curve=none").learning_curve is None


@pytest.mark.heavy
def test_points_that_were_not_measured_are_named(artifacts: Path, tmp_path: Path) -> None:
    copy = write_curve(write_study(tmp_path / "artifacts"), WAYS)
    for seed in (0, 1):
        point = CurvePoint(120, seed, "lora", not_measured={"all": "too many"})
        write_json(copy / "curve" / "data" / f"120-{seed}" / "point.json", point)
        write_json(copy / "curve" / "generate" / f"120-{seed}" / "arms.json", [])
    curve, _ = curve_of(verdict_on(copy))
    assert [level.labels for level in curve.levels] == [20, 50]
    assert curve.not_measured == {"120": "too many"}
    assert curve.reasons[-1] == "Not measured with 120 labels: too many."
    nothing = compared(copy, tmp_path / "none", "curve.labels=[120]").learning_curve
    assert nothing is not None
    assert (nothing.levels, nothing.crossover) == ([], None)
    assert "The learning curve was not measured: too many." in (tmp_path / "none" / "report.html").read_text()


@pytest.mark.heavy
def test_answers_to_other_examples_are_refused(tmp_path: Path) -> None:
    artifacts = write_curve(write_study(tmp_path / "artifacts"), WAYS)
    file = artifacts / "curve" / "generate" / "50-1" / "base-knn.jsonl"
    rows = read_jsonl(file)
    write_jsonl(file, rows[:-1])
    with pytest.raises(RecordError, match=r"50-1: each of the arms .* must answer the same"):
        verdict_on(artifacts)
    write_jsonl(file, rows)
    for each in file.parent.glob("*.jsonl"):
        write_jsonl(each, [row for row in read_jsonl(each) if row["id"] != "test-3"])
    with pytest.raises(RecordError, match="did not answer the same examples of test"):
        verdict_on(artifacts)
    artifacts = write_curve(write_study(tmp_path / "other"), WAYS)
    for file in (artifacts / "curve" / "generate" / "50-1").glob("*.jsonl"):
        write_jsonl(file, [row | {"id": row["id"].replace("dev-3", "strange")} for row in read_jsonl(file)])
    with pytest.raises(RecordError, match=r"the same examples of dev, out of artifacts/prepare/dev\.jsonl"):
        verdict_on(artifacts)


def test_page_and_terminal_say_it(folder: Path) -> None:
    verdict = read_json(folder / "verdict.json", Verdict)
    curve, _ = curve_of(verdict)
    page = (folder / "report.html").read_text()
    assert curve.reasons[0] in page
    assert 'href="#labels"' in page
    assert (folder / "plots" / "learning_curve.svg").exists()
    console = Console(file=io.StringIO(), width=300)
    print_verdict(verdict, console)
    assert f"• Labels: {curve.reasons[0]}" in console.file.getvalue()


@pytest.mark.heavy
def test_the_same_records_give_the_same_curve(artifacts: Path, folder: Path, tmp_path: Path) -> None:
    assert compared(artifacts, tmp_path).learning_curve == read_json(folder / "verdict.json", Verdict).learning_curve
    svg = "plots/learning_curve.svg"
    assert (tmp_path / svg).read_bytes() == (folder / svg).read_bytes()


def simulated(seed: int, seeds: int, examples: int = 100, deviation: float = 0.03) -> CurveData:
    """Answers by the laws above; each seed shifts quality, in part alike at all numbers of labels and for both ways."""
    rng = np.random.default_rng(seed)
    difficulty, shared, ways = rng.random(examples), rng.normal(0, deviation / np.sqrt(2), seeds), []
    for way in (TUNED, KNN):
        own = rng.normal(0, deviation / np.sqrt(2), (len(LABELS), seeds))
        quality = np.clip(np.array([way(number) for number in LABELS])[:, None] + shared + own, 0, 1)
        ways.append(scores(rng, quality, difficulty))
    totals = [way[..., None] for way in ways]
    return CurveData(list(LABELS), *totals, None, examples, np.arange(examples), [], 0, {}, metric("accuracy"))


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_a_weight_is_how_often_an_example_counts(name: str) -> None:
    rng = np.random.default_rng(5)
    targets, answers = rng.integers(3, size=30), rng.integers(-1, 4, size=(2, 3, 30))
    right = (answers == targets).astype(float)[..., None]
    totals = label_totals(answers, targets, 4) if name == "macro_f1" else right
    picks = rng.integers(30, size=(7, 30))
    weights = np.array([np.bincount(row, minlength=30) for row in picks])
    expected = by_seed(totals[:, :, picks], metric(name))
    np.testing.assert_allclose(weighted(totals, weights, metric(name)), expected, atol=1e-12)


def test_examples_that_come_in_groups_tell_less() -> None:
    single = simulated(3, 3)
    rows = single.examples

    def width(data: CurveData) -> float:
        return float(
            np.ptp(np.quantile(resample(data, InferenceSettings(resamples=800))["tuned"][:, 0], [0.025, 0.975]))
        )

    # Every example five times, and each five a group: no more is known than from one of them.
    copies = {name: np.repeat(getattr(single, name), 5, axis=-2) for name in ("tuned", "prompting")}
    many = replace(single, **copies, examples=5 * rows, groups=np.arange(5 * rows))
    grouped = replace(many, groups=np.repeat(np.arange(rows), 5))
    assert width(many) < 0.9 * width(single)
    assert width(grouped) == pytest.approx(width(single), rel=0.1)


def covered(seeds: int, studies: int = 100) -> float:
    """Share of simulated studies whose interval holds the true crossover."""
    truth, count = true_crossover(TUNED, KNN, LABELS[0], LABELS[-1]), 0
    for study in range(studies):
        found = find_crossover(
            fit_curves(simulated(study, seeds), InferenceSettings(resamples=200, seed=1000 + study)), 0.95, 0.1
        )
        count += (found.ci_low or 0) <= truth <= (found.ci_high or np.inf)
    return count / studies


@pytest.mark.heavy
@pytest.mark.parametrize("seeds", [2, 5])
def test_the_interval_of_the_crossover_holds_its_level(seeds: int) -> None:
    assert covered(seeds) >= 0.9


@pytest.mark.heavy
def test_with_one_seed_it_is_too_narrow_as_the_report_says() -> None:
    assert covered(1) < 0.9


@pytest.mark.heavy
def test_seeds_vary_in_resamples_as_much_as_they_do() -> None:
    deviations = {2: [], 5: []}
    for seeds, found in deviations.items():
        for study in range(60):
            data = simulated(study, seeds, examples=2000, deviation=0.05)
            found.append(resample(data, InferenceSettings(resamples=200, seed=1000 + study))["tuned"][:, 0].var())
        # 2,000 examples leave a variance of about 0.45 · 0.55 / 2,000; the rest is that of the mean over seeds.
        expected = 0.05**2 / seeds + 0.45 * 0.55 / 2000
        assert np.mean(found) == pytest.approx(expected, rel=0.35)
