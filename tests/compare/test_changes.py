"""A verdict beside an earlier one: what is said to have changed."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_study import REALISTIC, settings, write_study

from whether.compare.changes import VerdictFiles, changes, read_result
from whether.compare.compare import compare
from whether.errors import RecordError
from whether.records import Verdict, output_folder, to_builtins, write_json, write_jsonl
from whether.report.markdown import summary
from whether.report.terminal import print_changes, print_verdict
from whether.report.trend import TrendRow, trend_rows, write_trend
from whether.stats.intervals import InferenceSettings
from whether.tracking.names import measured

QUICK = ("policy.resamples=500", "prompt=[zero_shot,few_shot,knn]", "checkpoint=[base,lora]")


def result(folder: Path, *overrides: str, **study: object) -> VerdictFiles:
    artifacts = write_study(folder / "artifacts", **study)
    with output_folder(artifacts / "compare") as out:
        compare(settings(*QUICK, *overrides), artifacts=artifacts, folder=out)
    return read_result(artifacts / "compare")


def found(then: VerdictFiles, now: VerdictFiles):
    return changes(then, now, settings(), InferenceSettings(resamples=500))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> VerdictFiles:
    return result(tmp_path_factory.mktemp("earlier"))


def test_the_same_again_has_changed_nothing(earlier):
    same = found(earlier, earlier)
    assert [cause for cause in same.causes if not cause.startswith("perhaps the code")] == []
    assert {row.difference for row in same.arms} == {0.0}
    assert {row.conclusion for row in same.arms} == {"unchanged"}
    assert same.reasons[0].startswith("The verdict is the same: ")
    assert "No arm's quality is shown to have changed." in same.reasons


def test_another_precision_is_named(earlier):
    def in_precision(dtype):
        made = replace(earlier.verdict, provenance=replace(earlier.verdict.provenance, dtype=dtype))
        return earlier._replace(verdict=made)

    assert "the precision (float32, now bfloat16)" in found(in_precision("float32"), in_precision("bfloat16")).causes
    assert not any("precision" in cause for cause in found(earlier, in_precision("bfloat16")).causes)


@pytest.mark.heavy
def test_an_arm_that_got_worse_is_named_beyond_noise_and_the_others_are_not(earlier, tmp_path):
    now = result(tmp_path, accuracies=REALISTIC | {"lora-zero_shot": 0.7})
    moved = {row.arm: row.conclusion for row in found(earlier, now).arms}
    assert moved["lora-zero_shot"] == "worse"
    assert "better" not in moved.values()
    assert any("worse than before: lora-zero_shot (−" in reason for reason in found(earlier, now).reasons)


@pytest.mark.heavy
def test_only_shared_examples_are_compared_and_new_data_is_named(earlier, tmp_path):
    now = result(tmp_path, sizes=(381, 104, 260))
    report = found(earlier, now)
    assert {row.n for row in report.arms} == {208}
    assert "the data (208 of 260 test examples were there before)" in report.causes


@pytest.mark.heavy
def test_changed_settings_and_policy_are_named(earlier, tmp_path):
    now = result(tmp_path, "policy.margin=0.05", "prompts.knn.labels_needed=7", "tuner.r=8")
    causes = "; ".join(found(earlier, now).causes)
    assert "the policy (margin)" in causes
    assert "checkpoints.lora and prompts.knn" in causes
    assert "prompts.few_shot" not in causes


def old_form(verdict: Verdict) -> dict[str, Any]:
    """A verdict as versions before 0.2 wrote it, with a metric that the catalogue lacks."""
    values = to_builtins(verdict)
    for arm in values["arms"].values():
        arm["metrics"]["repeatability"] = arm["metrics"].pop("batch_invariance") | {"value": 1.0}
        arm["metrics"]["of_another_version"] = arm["metrics"]["accuracy"]
    for aspect in values["aspects"]:
        aspect["otherwise"] = aspect.pop("how_to_measure")
        aspect["metrics"] = ["repeatability" if name == "batch_invariance" else name for name in aspect["metrics"]]
    limits = ("latency_p95", "usd_per_1k", "peak_memory", "valid_rate", "retention_loss", "consistency")
    values["policy"]["constraints"] = dict.fromkeys(limits)
    return values


def test_a_verdict_of_an_earlier_version_is_compared_and_shown(earlier, tmp_path):
    write_json(tmp_path / "verdict.json", old_form(earlier.verdict))
    write_jsonl(tmp_path / "outputs.jsonl", earlier.outputs)
    old = read_result(tmp_path)
    assert old.verdict.aspects == earlier.verdict.aspects
    assert old.verdict.arms["base-knn"].metrics["batch_invariance"].value == 1.0
    report = found(old, earlier)
    assert report.causes == found(earlier, earlier).causes
    assert {row.conclusion for row in report.arms} == {"unchanged"}
    limited = replace(earlier.verdict, policy=earlier.verdict.policy | {"constraints": {"disk": {"max": 1.0}}})
    assert "the policy (constraints)" in found(old, earlier._replace(verdict=limited)).causes
    assert measured(old.verdict.arms["base-knn"].metrics)["robustness/batch_invariance"] == 1.0
    unknown = replace(old.verdict, metric="of_another_version")
    assert "of another version" in summary(unknown, report)
    print_verdict(unknown, Console(file=io.StringIO(), width=120))
    points = [TrendRow("b", "2026-11-27", unknown), TrendRow("a", "2026-11-20", old.verdict)]
    assert [row[3] for row in trend_rows(points)] == [old.verdict.recommended_arm] * 2
    write_trend(points, tmp_path / "trend.html")
    assert "The of another version of the arms" in (tmp_path / "trend.html").read_text()


def test_arms_that_came_and_went(earlier):
    gone = {name: arm for name, arm in earlier.verdict.arms.items() if name != "base-knn"}
    report = found(VerdictFiles(replace(earlier.verdict, arms=gone), earlier.outputs), earlier)
    assert report.added == ["base-knn"]
    assert [row.arm for row in report.arms] == list(gone)


def test_nothing_in_common_is_said(earlier):
    report = found(VerdictFiles(earlier.verdict, []), earlier)
    assert report.arms == []
    assert report.reasons[-1].startswith("No arm can be compared with itself")


@pytest.mark.heavy
def test_summary_and_terminal_show_it(earlier, tmp_path):
    now = result(tmp_path, accuracies=REALISTIC | {"lora-zero_shot": 0.7})
    report = found(earlier, now)
    text = summary(now.verdict, report)
    assert text.startswith("## ")
    assert "| lora-zero_shot | −" in text
    assert f"**{now.verdict.recommended_arm}**" in text
    console = Console(file=io.StringIO(), width=120, color_system=None)
    print_changes(report, console)
    assert "now minus then" in console.file.getvalue()


def test_a_broken_file_of_outputs_is_one_error(earlier, tmp_path):
    write_json(tmp_path / "verdict.json", earlier.verdict)
    line = {"id": "1", "inputs": {}, "target": "a", "arms": {"base-knn": {"output": "a", "answer": "a"}}}
    write_jsonl(tmp_path / "outputs.jsonl", [line])
    with pytest.raises(RecordError, match=r"outputs.jsonl, line 1.*score"):
        read_result(tmp_path)
