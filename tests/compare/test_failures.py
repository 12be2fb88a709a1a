"""Rows that an arm did not answer: wrong in quality, no part of what is said of answers, and told in the verdict."""

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_study import settings, verdict_of, write_study

from whether.compare.compare import compare
from whether.records import FailedRow, Prediction, Verdict, read_jsonl, write_jsonl
from whether.report.report import write_report

ARMS = {"base-zero_shot": 0.5, "base-knn": 0.8}
FAILED = ["test-3", "test-40", "dev-7"]
REASON = "refused (400): a content filter"


@pytest.fixture(scope="module")
def config():
    return settings("checkpoint=[base]", "prompt=[zero_shot,knn]", "curve=none", "robustness=none")


def failing(artifacts: Path, arm: str = "base-knn") -> list[Prediction]:
    """Make rows of an arm fail, and return all of them."""
    file = artifacts / "score" / arm / "predictions.jsonl"
    nothing = {"answer": None, "output": "", "score": 0.0, "valid": False, "seconds": 0.0, "error": REASON}
    tokens = dict.fromkeys(["input_tokens", "cached_tokens", "output_tokens"])
    rows = [replace(row, **nothing, **tokens) if row.id in FAILED else row for row in read_jsonl(file, Prediction)]
    write_jsonl(file, rows)
    write_jsonl(
        file.with_name("failed.jsonl"),
        [FailedRow(key, key.partition("-")[0], REASON, "data/rows.csv", 4) for key in FAILED],
    )
    return rows


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), accuracies=ARMS, invalid={"base-knn": 0.5})


@pytest.fixture(scope="module")
def verdict(artifacts, config) -> tuple[Verdict, list[Prediction]]:
    rows = failing(artifacts)
    return verdict_of(config, artifacts), [row for row in rows if row.split == "test"]


def test_they_are_wrong_and_say_nothing_of_form_tokens_and_seconds(verdict) -> None:
    found, rows = verdict
    arm, answered = found.arms["base-knn"], [row for row in rows if not row.error]
    metrics = {name: row.value for name, row in arm.metrics.items()}
    assert (len(rows), len(answered), arm.failed) == (208, 206, 3)
    assert metrics["accuracy"] == pytest.approx(sum(row.score for row in rows) / 208)
    assert metrics["failed_rate"] == pytest.approx(2 / 208)
    assert metrics["valid_rate"] == pytest.approx(sum(row.valid for row in answered) / 206)
    assert metrics["input_tokens"] == pytest.approx(sum(row.input_tokens for row in answered) / 206)
    seconds = sum(row.seconds for row in answered) / 206
    assert metrics["seconds_per_request"] == pytest.approx(seconds)
    assert metrics["usd_per_1k"] == pytest.approx(seconds * 1000 / 3600 * 0.10)
    assert arm.metrics["accuracy"].n == 208
    assert (found.arms["base-zero_shot"].failed, found.arms["base-zero_shot"].metrics["failed_rate"].value) == (0, 0.0)


def test_the_reasons_say_how_many_of_each_arm(verdict) -> None:
    said = [reason for reason in verdict[0].reasons if "answer" in reason and "rows" in reason]
    assert said == [
        "base-knn did not answer 3 of 312 rows, which count as wrong; the first is data/rows.csv, line 4:"
        f" {REASON} (all: artifacts/score/base-knn/failed.jsonl).",
        "All rows were answered by base-zero_shot.",
    ]


def test_nothing_is_said_where_all_were_answered(tmp_path: Path, config) -> None:
    found = verdict_of(config, write_study(tmp_path, accuracies=ARMS))
    assert not any("did not answer" in reason for reason in found.reasons)


def test_the_page_tells_them_from_answers_of_the_wrong_form(artifacts, config, verdict, tmp_path: Path) -> None:
    folder = tmp_path / "compare"
    compare(config, artifacts=artifacts, folder=folder)
    write_report(folder, artifacts=artifacts, folder=folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("– not answered") == 2
    assert f'<span class="invalid-text">{REASON}</span>' in page
    assert "did not answer 3 of 312 rows" in page
