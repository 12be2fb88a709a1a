"""What a run says with the first verdict, and against it at the end."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from whether.cli.first_verdict import parts_to_come, what_changed
from whether.cli.stage_times import StageTimes
from whether.config import CONF, Config, check, compose
from whether.metrics.catalogue import measurement
from whether.records import ArmRecord, Provenance, Verdict

ROOT = Path(__file__).parents[2]
STAGES = ["robustness@base-knn", "robustness@lora-knn", "benchmark@base", "curve_tune@20-0", "compare", "publish"]
TIMES = StageTimes(dict(zip(STAGES, (90, 90, 120, 360, 30, 30), strict=True)))


@pytest.fixture(scope="module")
def config() -> Config:
    return check(yaml.safe_load(compose(conf=ROOT / CONF)))


def verdict(**measured: float | None) -> Verdict:
    arms = {
        name: ArmRecord(*name.split("-"), kind, {key: measurement(key, value) for key, value in measured.items()})
        for name, kind in (("base-knn", "prompt"), ("lora-knn", "both"))
    }
    provenance = Provenance("c" * 40, False, "d" * 32, "e" * 64, {}, "2026-01-01T00:00:00+00:00")
    return Verdict(
        "both", "lora-knn", [], "snips", "m", arms, [], provenance, status={"lora-knn": "acceptable"}
    )  # fmt: skip


def test_what_is_still_to_come_has_its_minutes(config: Config) -> None:
    assert parts_to_come(config, STAGES, TIMES) == (
        "Still to come, about 12 min: other formats and samples (robustness, 3 min),"
        " general ability kept and speed (benchmark, 2 min), the learning curve (curve, 6 min)"
    )
    less = replace(
        config, robustness=replace(config.robustness, examples=0), curve=replace(config.curve, labels=[], seeds=[])
    )
    assert parts_to_come(less, ["benchmark@base", "compare"], TIMES) == (
        "Still to come, about 2 min: general ability kept and speed (benchmark, 2 min)"
    )


def test_an_answer_that_stands_comes_with_what_was_added() -> None:
    first = verdict(sensitivity_worst=None, retention_change=None, tokens_per_second=None)
    whole = verdict(sensitivity_worst=0.7, retention_change=-0.043, tokens_per_second=1477)
    assert what_changed(first, whole) == [
        "The answer stands: Do both: fine-tune and engineer the prompt, with lora-knn.",
        "Robustness: lora-knn scores 70.0% in the worst format of its prompt.",
        "General ability: tuning changed that of lora-knn by −4.3 points.",
        "Speed: lora-knn reads 1,477 tokens a second in batches.",
    ]
    assert len(what_changed(whole, whole)) == 1


def test_an_answer_that_changed_says_from_what_to_what() -> None:
    first = verdict(retention=None)
    whole = replace(
        verdict(retention=0.5), answer="prompt", recommended_arm="base-knn", status={"lora-knn": "rejected"},
        excluded={"lora-knn": "its retention change is below −2.0 points."},
    )  # fmt: skip
    assert what_changed(first, whole) == [
        "The answer changed from “Do both: fine-tune and engineer the prompt” to “Engineer the prompt”.",
        "The recommended arm changed from lora-knn to base-knn.",
        "lora-knn is rejected; it was acceptable.",
        "lora-knn is excluded: its retention change is below −2.0 points.",
        "General ability: base-knn scores 50.0% on the retention suite.",
    ]
