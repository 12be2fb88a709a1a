"""Challenger against champion."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tests.retrain.conftest import bundle
from tests.shipped_metrics import metric
from whether.config import GateConfig, PolicyConfig
from whether.metrics.catalogue import measurement
from whether.records import ArmRecord, Example, Prediction, Provenance, Task, Verdict
from whether.retrain.gate import PairedAnswers, decide_promotion
from whether.stats.intervals import InferenceSettings

SETTINGS = InferenceSettings(resamples=500)
TASK = Task(
    name="snips", output="label", metric="accuracy", instruction="", input_template="", schema=None,
    labels=["a", "b", "c", "f", "t"], answer_pattern=None, max_new_tokens=4,
)  # fmt: skip


def verdict(excluded=(), **usd_per_1k):
    arms = {}
    for name, usd in usd_per_1k.items():
        measured = {"usd_per_1k": measurement("usd_per_1k", usd)}
        arms[name.replace("__", "-")] = ArmRecord("lora", "zero_shot", "fine_tune", measured)
    provenance = Provenance(None, None, "", "", {}, "2026-01-01T00:00:00+00:00")
    found = Verdict("fine_tune", None, [], "snips", "m", arms, [], provenance, metric="accuracy")
    return replace(found, excluded=dict(excluded))


def sheet(name, champion, challenger, n, both=0):
    """`champion` right in the champion alone, `challenger` in the challenger alone, `both` in both."""
    rows = [Example(str(index), {"x": str(index)}, "t") for index in range(n)]

    def answers(right):
        return [
            Prediction(row.id, "test", "", "t" if ok else "f", "t", float(ok), True, "", 1, 0, 1, 0.1)
            for row, ok in zip(rows, right, strict=True)
        ]

    places = np.arange(n)
    in_both = places < both
    only_champion = (places >= both) & (places < both + champion)
    only_challenger = (places >= both + champion) & (places < both + champion + challenger)
    return PairedAnswers(name, rows, answers(in_both | only_champion), answers(in_both | only_challenger))


def decided(config, sheets, champion=None, challenger=None, found=None, **gate):
    found = found or verdict()
    return decide_promotion(
        champion or bundle(config),
        challenger or bundle(config, id="bbbbbbbbbbbb"),
        found,
        sheets,
        task=TASK,
        metric=metric(found.metric),
        policy=PolicyConfig(resamples=500),
        gate=GateConfig(**gate),
        settings=SETTINGS,
    )


def test_better_on_test(config):
    found = decided(config, [sheet("test", 2, 40, 300, both=200)])
    assert (found.conclusion, found.promote) == ("better", True)
    assert "not worse by the margin" in found.reason
    assert found.sides[0].difference == pytest.approx(38 / 300)


def test_better_on_the_recent_window_and_not_worse_on_test(config):
    found = decided(config, [sheet("test", 1, 1, 400, both=390), sheet("recent", 0, 30, 60, both=20)])
    assert (found.conclusion, found.promote) == ("better", True)
    assert "on the recent window" in found.reason


def test_better_on_the_recent_window_and_worse_on_test(config):
    found = decided(config, [sheet("test", 40, 0, 400, both=350), sheet("recent", 0, 30, 60, both=20)])
    assert (found.conclusion, found.promote) == ("worse", False)


def test_what_cannot_be_ruled_out_keeps_the_champion(config):
    found = decided(config, [sheet("test", 6, 6, 80, both=60)])
    assert (found.conclusion, found.promote) == ("undecided", False)
    assert "A loss of 3 points on the fixed test split cannot be ruled out" in found.reason
    assert 200 < found.labels_needed < 2000
    hopeless = decided(config, [sheet("test", 20, 5, 400, both=300)])
    assert (hopeless.conclusion, hopeless.labels_needed) == ("worse", None)


def test_neither_better_nor_cheaper(config):
    found = decided(config, [sheet("test", 1, 1, 600, both=590)])
    assert (found.conclusion, found.promote) == ("same", False)


def test_a_cheaper_arm_takes_over_and_the_same_arm_is_never_cheaper(config):
    sheets = [sheet("test", 1, 1, 600, both=590)]
    prompt = bundle(config, id="bbbbbbbbbbbb", arm="base-knn", checkpoint="base", kind="prompt")
    prices = verdict(lora__zero_shot=0.02, base__knn=0.01)
    found = decided(config, sheets, challenger=prompt, found=prices)
    assert (found.conclusion, found.promote) == ("cheaper", True)
    assert (found.usd_champion, found.usd_challenger) == (pytest.approx(2.0), pytest.approx(1.0))
    # The champion's own times are of another run; the last verdict measured its arm again.
    near = decided(config, sheets, challenger=prompt, found=verdict(lora__zero_shot=0.0105, base__knn=0.01))
    assert near.conclusion == "same"
    again = decided(config, sheets, champion=bundle(config, metrics={"usd_per_1k": 9.0}), found=prices)
    assert again.conclusion == "same"


def test_an_arm_that_was_tuned_on_is_never_the_cheaper_one(config):
    even = [sheet("test", 2, 2, 300, both=290)]
    dear = verdict(lora__zero_shot=1.0, lora_warm__zero_shot=0.1)
    champion = bundle(config, arm="lora-zero_shot")
    warm = bundle(config, id="b" * 12, arm="lora_warm-zero_shot", checkpoint="lora_warm")
    assert champion.recipe == warm.recipe
    assert decided(config, even, champion, warm, dear).conclusion == "same"


def test_a_broken_constraint_and_the_champion_itself(config):
    broken = verdict(excluded={"lora-zero_shot": "It is slow."})
    assert decided(config, [], found=broken).reason == "It is slow."
    assert decided(config, [], challenger=bundle(config)).conclusion == "same"


def test_a_small_recent_window_is_not_looked_at(config):
    sheets = [sheet("test", 0, 40, 300, both=200), sheet("recent", 5, 0, 10)]
    assert [side.name for side in decided(config, sheets).sides] == ["test"]
    assert [side.name for side in decided(config, sheets, min_recent_rows=10).sides] == ["test", "recent"]


def test_macro_f1(config):
    found = decided(config, [sheet("test", 2, 40, 300, both=200)], found=replace(verdict(), metric="macro_f1"))
    assert found.conclusion == "better"


def test_macro_f1_has_the_labels_of_the_task_as_in_the_verdict(config):
    """A label that is answered and never asked for counts; both values and their difference are macro-F1."""
    targets = ["a", "b"] * 20
    rows = [Example(str(index), {"x": str(index)}, target) for index, target in enumerate(targets)]

    def answers(wrong, instead):
        said = [instead if index < wrong else target for index, target in enumerate(targets)]
        return [
            Prediction(row.id, "test", "", answer, row.target, float(answer == row.target), True, "", 1, 0, 1, 0.1)
            for row, answer in zip(rows, said, strict=True)
        ]

    champion, challenger = answers(2, "c"), answers(2, "b")
    found = decided(
        config, [PairedAnswers("test", rows, champion, challenger)], found=replace(verdict(), metric="macro_f1")
    )
    side = found.sides[0]
    for value, lines in ((side.champion, champion), (side.challenger, challenger)):
        expected = f1_score(targets, [line.answer for line in lines], average="macro")
        assert value == pytest.approx(expected)
    assert side.difference == pytest.approx(side.challenger - side.champion)
    assert side.champion < 0.7 < side.challenger, "c was never asked for, and its F1 is 0"


def test_another_backend_makes_another_answerer_and_the_default_one_is_that_of_earlier_bundles(config):
    settings = {"name": "tiny", "dtype": "float32"}
    earlier, engine, vllm = (
        bundle(config, model_settings=settings | more).content_hash
        for more in ({}, {"backend": "engine"}, {"backend": "vllm"})
    )
    assert earlier == engine != vllm
