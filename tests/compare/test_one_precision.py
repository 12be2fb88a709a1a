"""Arms of one verdict are of one precision."""

from pathlib import Path

import pytest
from synthetic_study import settings, verdict_of, write_study

from whether.compare.compare import first_verdict
from whether.compare.precision import common_precision
from whether.errors import RecordError
from whether.records import Verdict, read_json, write_json, write_precision

ARMS = {"base-zero_shot": 0.5, "lora-zero_shot": 0.9}
CONFIG = settings("prompt=[zero_shot]", "checkpoint=[base,lora]", "policy.resamples=100", "robustness=none")


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Records of two arms that name bfloat16 wherever one can be named."""
    folder = write_study(tmp_path / "artifacts", accuracies=ARMS)
    for arm in ARMS:
        name_precision(folder / "score" / arm / "metrics.json", "bfloat16")
        write_precision(folder / "robustness" / arm, "bfloat16")
    for checkpoint in ("base", "lora"):
        name_precision(folder / "benchmark" / checkpoint / "metrics.json", "bfloat16")
    write_json(
        folder / "finetune" / "lora" / "checkpoint" / "checkpoint.json", {"kind": "adapter", "dtype": "bfloat16"}
    )
    write_json(folder / "finetune" / "base" / "checkpoint" / "checkpoint.json", {"kind": "base", "dtype": None})
    return folder


def name_precision(file: Path, dtype: str | None) -> None:
    write_json(file, read_json(file) | {"dtype": dtype})


def test_the_verdict_names_the_precision_of_its_records(artifacts: Path) -> None:
    assert verdict_of(CONFIG, artifacts).provenance.dtype == "bfloat16"


def test_records_that_name_none_are_of_an_earlier_version_or_a_served_model(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "artifacts", accuracies=ARMS)
    assert verdict_of(CONFIG, folder).provenance.dtype is None
    name_precision(folder / "score" / "base-zero_shot" / "metrics.json", "float32")
    assert common_precision(CONFIG, folder) == "float32"


@pytest.mark.parametrize(
    "other",
    [
        "score/lora-zero_shot/metrics.json", "benchmark/base/metrics.json",
        "finetune/lora/checkpoint/checkpoint.json", "robustness/base-zero_shot/precision.json",
    ],
)  # fmt: skip
def test_records_of_two_precisions_are_not_compared(other: str, artifacts: Path) -> None:
    name_precision(artifacts / other, "float32")
    message = (
        rf"{other.removesuffix('/precision.json')}: made in float32, and the other records of this run in bfloat16;"
        r".*`whether run model.dtype=bfloat16`"
    )
    with pytest.raises(RecordError, match=message):
        verdict_of(CONFIG, artifacts)


def test_a_point_of_the_curve_counts_too(artifacts: Path) -> None:
    labels, seed = CONFIG.curve.labels[0], CONFIG.curve.seeds[0]
    write_precision(artifacts / "curve" / "generate" / f"{labels}-{seed}", "float32")
    with pytest.raises(RecordError, match=rf"curve/generate/{labels}-{seed}: made in float32"):
        common_precision(CONFIG, artifacts)


def test_the_first_verdict_looks_at_what_it_compares(artifacts: Path, tmp_path: Path) -> None:
    name_precision(artifacts / "benchmark" / "base" / "metrics.json", "float32")
    first_verdict(CONFIG, artifacts=artifacts, folder=tmp_path)
    assert read_json(tmp_path / "verdict.json", Verdict).provenance.dtype == "bfloat16"
    name_precision(artifacts / "score" / "base-zero_shot" / "metrics.json", "float32")
    with pytest.raises(RecordError, match="made in float32"):
        first_verdict(CONFIG, artifacts=artifacts, folder=tmp_path)
