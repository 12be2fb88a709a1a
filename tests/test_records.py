"""Records survive full disks, kills and broken files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from whether.errors import RecordError
from whether.records import (
    ArmRecord,
    Aspect,
    Champion,
    CollectedRow,
    Example,
    FormatScore,
    GateRecord,
    IntakeCounts,
    RetrainingRun,
    Robustness,
    Verdict,
    output_folder,
    read_json,
    read_jsonl,
    read_runs,
    sha256_folder,
    write_json,
    write_jsonl,
    write_runs,
)

OLD_RUN = """{"number": 1, "started": "2026-03-01T02:00:00+00:00", "ended": "2026-03-01T02:09:00+00:00", "outcome": \
"needs_person", "reason": "labels", "taken": {"files": 2, "labelled": 3, "unlabelled": 9, "duplicates": 1, "left_out": \
4, "quarantined": 1, "waiting": 5, "new_labels": [], "unknown_labels": {"sport": 1}}, "findings": [], "attention": \
["labels"], "examined": true, "challenger": "lora-knn", "gate": {"conclusion": "first", "reason": "The first.", \
"promote": true, "sides": [], "usd_champion": null, "usd_challenger": null, "labels_needed": null}, "champion": null, \
"champion_arm": null, "champion_new": null, "champion_recent": null, "commit": null, "task": "mine", "seconds": {}}
"""
"""A line of retrain/nights.jsonl of an earlier version."""

OLD_ROBUSTNESS = {
    "examples": 20,
    "score": 0.5,
    "repeatability": 0.95,
    "variations": {"labels_upper": {"score": 0.25, "changed": 0.5}},
    "left_out": {"labels_bars": "changes nothing in what the arm asks"},
    "consistency": 0.8,
}
"""As versions before 0.2 wrote it."""


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    examples = [Example("a", {"text": "Grüße\n\u2028<|im_end|>"}, "x"), Example("b", {}, "")]
    write_jsonl(tmp_path / "rows.jsonl", examples)
    assert read_jsonl(tmp_path / "rows.jsonl", Example) == examples
    write_json(tmp_path / "row.json", examples[0])
    assert read_json(tmp_path / "row.json", Example) == examples[0]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "inputs": {}, "target": "x"}\n{"id": "b", "inputs": {}}\n')
    with pytest.raises(RecordError, match=r"rows.jsonl, line 2: target: "):
        read_jsonl(tmp_path / "rows.jsonl", Example)


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"missing.json is missing: run `whether run`"):
        read_json(tmp_path / "missing.json", Example)


def test_a_failed_stage_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    with output_folder(tmp_path / "stage") as folder:
        write_json(folder / "metrics.json", {"old": 1})
    with pytest.raises(RecordError, match="not JSON"), output_folder(tmp_path / "stage") as folder:
        write_json(folder / "metrics.json", {"new": float("inf")})
    assert read_json(tmp_path / "stage" / "metrics.json") == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["stage"]


def test_not_a_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"metrics\.json cannot be written: .*not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"loss": float("nan")})
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="uses a memory file system of 64 KiB, made by unshare(1)")
def test_a_full_disk_is_one_clear_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    script = tmp_path / "fill.py"
    script.write_text(
        "import sys; from pathlib import Path; from whether import entry; from whether.records import write_text\n"
        "entry.run(lambda _: write_text(Path('disk/big.json'), 'x' * 10**6))\n"
    )
    (tmp_path / "disk").mkdir()
    command = (
        "mount -t tmpfs -o size=64k tmpfs disk && echo old > disk/big.json && "
        f"{sys.executable} fill.py; echo status $?; cat disk/big.json; ls -A disk"
    )
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if "unshare" in result.stderr or "mount:" in result.stderr:
        pytest.skip("this sandbox cannot mount")
    assert result.stdout == "status 1\nold\nbig.json\n"
    assert "big.json cannot be written: the disk is full" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_hash_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = sha256_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = sha256_folder(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, sha256_folder(tmp_path)}) == 3


def test_a_retraining_run_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "nights.jsonl").write_text(OLD_RUN + OLD_RUN.replace("needs_person", "nothing"))
    first, second = read_runs(tmp_path)
    assert first == RetrainingRun(
        number=1,
        started="2026-03-01T02:00:00+00:00",
        ended="2026-03-01T02:09:00+00:00",
        outcome="action_required",
        reason="labels",
        intake=IntakeCounts(
            2, 3, 9, 1, sampled_out=4, quarantined=1, below_min_label_rows=5, unknown_labels={"sport": 1}
        ),
        attention=["labels"],
        challenger_trained=True,
        challenger="lora-knn",
        gate=GateRecord("first_champion", "The first.", promote=True),
        task="mine",
    )
    assert second.outcome == "no_trigger"


def test_the_old_file_of_retraining_runs_is_replaced_when_runs_are_written(tmp_path: Path) -> None:
    assert read_runs(tmp_path) == []
    (tmp_path / "nights.jsonl").write_text(OLD_RUN)
    runs = read_runs(tmp_path)
    write_runs(tmp_path, runs)
    assert [path.name for path in tmp_path.iterdir()] == ["runs.jsonl"]
    assert read_runs(tmp_path) == runs
    text = (tmp_path / "runs.jsonl").read_text()
    for old in ("needs_person", "taken", "left_out", "waiting", "examined", '"first"'):
        assert old not in text


@pytest.mark.parametrize(
    ("old", "new"),
    [("train", "train"), ("recent", "holdout"), ("waiting", "pending"), ("repeat", "duplicate")],
)
def test_a_collected_row_of_an_earlier_version_is_read(tmp_path: Path, old: str, new: str) -> None:
    (tmp_path / "mine.jsonl").write_text(
        f'{{"id": "a", "destination": "{old}", "received": "2026-03-01", "night": 3, "labelled": 4, "file": "a.csv", '
        '"row": {"text": "x"}}\n'
    )
    (row,) = read_jsonl(tmp_path / "mine.jsonl", CollectedRow)
    assert (row.destination, row.run, row.labelled_in_run) == (new, 3, 4)
    write_jsonl(tmp_path / "mine.jsonl", [row])
    assert '"run": 3, "labelled_in_run": 4' in (tmp_path / "mine.jsonl").read_text()
    assert read_jsonl(tmp_path / "mine.jsonl", CollectedRow) == [row]


def test_a_champion_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "champion.json").write_text(
        '{"champion": "abc", "previous": null, "since": "2026-03-01", "night": 7, "reason": "better"}'
    )
    champion = read_json(tmp_path / "champion.json", Champion)
    assert champion == Champion("abc", None, "2026-03-01", 7, "better")
    write_json(tmp_path / "champion.json", champion)
    assert '"run": 7' in (tmp_path / "champion.json").read_text()


def test_robustness_of_an_earlier_version_is_read_and_written_under_the_new_keys(tmp_path: Path) -> None:
    file = tmp_path / "robustness.json"
    write_json(file, {"lora-knn": OLD_ROBUSTNESS})
    read = read_json(file, dict[str, Robustness])["lora-knn"]
    assert (read.batch_invariance, read.consistency) == (0.95, 0.8)
    assert read.formats == {"labels_upper": FormatScore(0.25, 0.5)}
    assert read.skipped == {"labels_bars": "changes nothing in what the arm asks"}
    write_json(file, read)
    written = read_json(file)
    assert {"batch_invariance", "formats", "skipped"} < written.keys()
    assert not {"repeatability", "variations", "left_out"} & written.keys()
    assert read_json(file, Robustness) == read


def test_metrics_and_questions_of_an_earlier_verdict_are_read_under_the_new_names(tmp_path: Path) -> None:
    measured = {"value": 0.95, "unit": "fraction", "higher_is_better": True}
    arm = {"checkpoint": "base", "prompt": "knn", "answer": "prompt"}
    write_json(tmp_path / "arm.json", arm | {"metrics": {"repeatability": measured, "of_another_version": measured}})
    read = read_json(tmp_path / "arm.json", ArmRecord)
    assert list(read.metrics) == ["batch_invariance", "of_another_version"]
    assert read.metrics["batch_invariance"].value == 0.95
    write_json(tmp_path / "aspect.json", {"question": "Why?", "metrics": ["repeatability"], "otherwise": "make run"})
    aspect = read_json(tmp_path / "aspect.json", Aspect)
    assert aspect == Aspect("Why?", ["batch_invariance"], "make run")
    write_json(tmp_path / "aspect.json", aspect)
    assert list(read_json(tmp_path / "aspect.json")) == ["question", "metrics", "how_to_measure"]


def test_a_verdict_of_a_newer_version_is_refused_and_an_older_one_is_read(tmp_path: Path) -> None:
    provenance = {"commit": None, "dirty": None, "data_hash": "", "model_hash": "", "versions": {}, "created_at": ""}
    known = {
        "answer": "inconclusive", "recommended_arm": None, "reasons": [], "task": "t", "model": "m", "arms": {},
        "comparisons": [], "provenance": provenance,
    }  # fmt: skip
    write_json(tmp_path / "verdict.json", known)
    assert read_json(tmp_path / "verdict.json", Verdict).schema_version == 1
    write_json(tmp_path / "verdict.json", known | {"schema_version": 99})
    with pytest.raises(RecordError, match=r"verdict\.json: .*schema_version is 99, and .* reads up to 2: install"):
        read_json(tmp_path / "verdict.json", Verdict)
