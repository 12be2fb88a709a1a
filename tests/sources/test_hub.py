import json
from pathlib import Path
from typing import Any

import pytest

from whether.config import SourceConfig
from whether.errors import ConfigError, SourceError
from whether.sources.hub import fetch_rows
from whether.sources.tables import read_rows

# `load_dataset` takes a local folder where a hub id could stand; the code path is the same from there on.
ROWS = [{"text": 'é, "x"', "label": "a"}, {"text": "two\nlines", "label": "b"}]


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `datasets` reads as a data set with a train split."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "dataset"
    folder.mkdir()
    write(folder, ROWS)
    return folder


def write(folder: Path, rows: list[dict[str, str]]) -> None:
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def config(dataset: Path, **changed: Any) -> SourceConfig:
    usual = {"path": "downloads/a.jsonl", "hub": str(dataset), "split": "train", "revision": "r1"}
    return SourceConfig(**(usual | changed))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_rows_arrive_in_the_format_of_the_path(dataset: Path, suffix: str) -> None:
    path = Path(f"downloads/a.{suffix}")
    fetch_rows(config(dataset, path=str(path)))
    assert [row for _, row in read_rows(path)] == ROWS
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.source.json"]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_classes_arrive_by_name(dataset: Path, suffix: str) -> None:
    import datasets

    features = datasets.Features(
        {"label": datasets.ClassLabel(names=["ham", "spam"]), "text": datasets.Value("string")}
    )
    made = datasets.Dataset.from_dict({"label": [1, 0], "text": ["a", "b"]}, features=features)
    (dataset / "train.jsonl").unlink()
    made.to_parquet(dataset / "train.parquet")
    path = Path(f"downloads/a.{suffix}")
    fetch_rows(config(dataset, path=str(path)))
    assert [row for _, row in read_rows(path)] == [{"label": "spam", "text": "a"}, {"label": "ham", "text": "b"}]


def test_what_is_there_is_not_fetched_again(dataset: Path) -> None:
    fetch_rows(config(dataset))
    (dataset / "train.jsonl").unlink()
    fetch_rows(config(dataset))


def test_another_revision_is_fetched_anew(dataset: Path) -> None:
    fetch_rows(config(dataset))
    write(dataset, ROWS[:1])
    fetch_rows(config(dataset, revision="r2"))
    assert len(list(read_rows(Path("downloads/a.jsonl")))) == 1


def test_a_file_changed_by_hand_is_refused(dataset: Path) -> None:
    fetch_rows(config(dataset))
    Path("downloads/a.jsonl").write_text('{"text": "mine"}\n')
    with pytest.raises(SourceError, match="was changed after it was fetched"):
        fetch_rows(config(dataset))


def test_data_is_not_written_to(dataset: Path) -> None:
    with pytest.raises(ConfigError, match="data set next to it"):
        fetch_rows(config(dataset, path="data/a.jsonl"))


@pytest.mark.parametrize("changed", [{"hub": "owner/absent"}, {"split": "validation"}])
def test_a_data_set_that_cannot_be_had_leaves_nothing(dataset: Path, changed: dict[str, str]) -> None:
    with pytest.raises(SourceError, match="cannot be had"):
        fetch_rows(config(dataset, **changed))
    assert not Path("downloads").exists()
