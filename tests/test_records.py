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
    Example,
    FormatScore,
    Robustness,
    output_folder,
    read_json,
    read_jsonl,
    sha256_folder,
    write_json,
    write_jsonl,
)

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
    with pytest.raises(RecordError, match=r"missing.json is missing: run `dvc repro`"):
        read_json(tmp_path / "missing.json", Example)


def test_a_failed_stage_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    with output_folder(tmp_path / "stage") as folder:
        write_json(folder / "metrics.json", {"old": 1})
    with pytest.raises(ValueError, match="not JSON"), output_folder(tmp_path / "stage") as folder:
        write_json(folder / "metrics.json", {"new": float("inf")})
    assert read_json(tmp_path / "stage" / "metrics.json") == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["stage"]


def test_not_a_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
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
