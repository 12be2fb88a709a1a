import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from whether.config import DataConfig
from whether.errors import SourceError
from whether.records import sha256_folder
from whether.sources.bigbench import build_data

TASKS: dict[str, dict[str, Any]] = {
    "intent": {
        "examples": [
            {"input": "Say: play", "target_scores": {"music": 1, "weather": 0}},
            {"input": "Say: rain?", "target_scores": {"music": 0, "weather": 1}},
        ]
    },
    "sums": {"examples": [{"input": "1+1?", "target": "2", "target_scores": {"2": 1, "banana": 0}}]},
    "lists": {"examples": [{"input": "a", "target": ["b", "c"]}]},
    "cause": {
        "task_prefix": "Which came first?\n",
        "examples": [{"input": "", "target_scores": {"egg": 0.0, "hen": 1.0}}],
    },
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """Settings for a small archive that lies in the package cache."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, task in TASKS.items():
            data = json.dumps(task).encode()
            member = tarfile.TarInfo(f"pack-1/tasks/{name}/task.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    folder = tmp_path / "cache" / "whether" / "packages" / sha256
    folder.mkdir(parents=True)
    (folder / "pack-1.tar.gz").write_bytes(content.getvalue())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return DataConfig(
        package="pack", version="1", sha256=sha256, licence="Apache-2.0", folder="pack", root="pack-1/tasks",
        members={name: name for name in TASKS}, limits={"intent": 1},
        strip={"intent": "Say: "}, strip_end={"sums": "?"},
    )  # fmt: skip


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pack" / f"{name}.jsonl").read_text().splitlines()]


def test_each_kind_of_task_becomes_rows(config: DataConfig, tmp_path: Path) -> None:
    build_data(config, tmp_path / "data")
    data = tmp_path / "data"
    assert rows(data, "intent") == [{"input": "play", "target": "music", "choices": ["music", "weather"]}]
    assert rows(data, "sums") == [{"input": "1+1", "target": "2"}]
    assert rows(data, "lists") == [{"input": "a", "target": "b"}]
    assert rows(data, "cause") == [{"input": "Which came first?", "target": "hen", "choices": ["egg", "hen"]}]


def test_the_same_bytes_every_time(config: DataConfig, tmp_path: Path) -> None:
    build_data(config, tmp_path / "a")
    build_data(config, tmp_path / "b")
    assert sha256_folder(tmp_path / "a") == sha256_folder(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": {"gone": "gone"}}, r"pack-1\.tar\.gz holds no pack-1/tasks/gone/task\.json"),
        ({"strip": {"sums": "Say: "}}, r"sums, example 1: the input is not between 'Say: '"),
    ],
)
def test_settings_that_do_not_fit_leave_nothing_behind(
    config: DataConfig, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    from dataclasses import replace

    with pytest.raises(SourceError, match=message):
        build_data(replace(config, **change), tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []
