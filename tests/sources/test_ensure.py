"""The gate of data/, on a real DVC repository."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from whether.config import CONF, Config, DataConfig, SourceConfig, check, compose
from whether.errors import ConfigError, DataError, SourceError
from whether.repository.tracked import changed_files, require_committed_data
from whether.sources.fetch import fetch_all

ROOT = Path(__file__).parents[2]


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """A folder with a repository whose data.dvc is staged and a package cache that data/ comes from; its settings."""
    folder = tmp_path_factory.mktemp("made")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in ("one", "two"):
            data = json.dumps({"examples": [{"input": name, "target": "x"}]}).encode()
            member = tarfile.TarInfo(f"pack-1/{name}/task.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    packages = folder / "cache" / "whether" / "packages" / sha256
    packages.mkdir(parents=True)
    (packages / "pack-1.tar.gz").write_bytes(content.getvalue())

    settings = check(yaml.safe_load(compose(["model=local"], conf=ROOT / CONF)))
    data = DataConfig(
        package="pack", version="1", sha256=sha256, licence="Apache-2.0", folder="pack", root="pack-1",
        members={"one": "one", "two": "two"},
    )  # fmt: skip
    task = replace(settings.task, source=SourceConfig(path="data/pack/one.jsonl"))
    settings = replace(settings, data=data, task=task)
    (folder / "repository").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder / "repository")
        run("git", "init", "--quiet")
        run(sys.executable, "-m", "dvc", "init", "--quiet")
        Path(".gitignore").write_text("/data\n")
        with pytest.raises(SourceError, match=r"data\.dvc is missing.*`dvc add data`"):
            fetch_all(settings)
        run(sys.executable, "-m", "dvc", "add", "--quiet", "data")
        run("git", "add", ".")
    return folder, settings


@pytest.fixture
def config(made: tuple[Path, Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The settings; the working directory is a copy of the repository."""
    folder, settings = made
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "copy" / "cache"))
    monkeypatch.chdir(tmp_path / "copy" / "repository")
    return settings


def fresh_clone() -> None:
    shutil.rmtree("data")
    shutil.rmtree(".dvc/cache")


@pytest.mark.heavy
def test_a_fresh_clone_gets_data_and_dvc_has_them(config: Config) -> None:
    before = Path("data.dvc").read_bytes()
    fresh_clone()
    fetch_all(config)
    assert sorted(path.name for path in Path("data/pack").iterdir()) == ["one.jsonl", "two.jsonl"]
    assert Path("data.dvc").read_bytes() == before
    shutil.rmtree("data")
    shutil.rmtree(Path.cwd().parent / "cache")  # no package any more: from DVC's cache, or not at all
    fetch_all(config)
    assert changed_files() == []


def test_unchanged_data_are_known_without_dvc(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dvc.repo", None)  # cannot be imported
    fetch_all(config)
    Path("data/new.txt").write_text("new")
    with pytest.raises(ImportError, match=r"dvc\.repo"):
        fetch_all(config)


def test_changed_data_are_refused_by_name_and_data_dvc_stays(config: Config) -> None:
    before = Path("data.dvc").read_bytes()
    Path("data/pack/one.jsonl").write_text('{"input": "mine", "target": "y"}\n')
    Path("data/pack/two.jsonl").unlink()
    Path("data/new.txt").write_text("new")
    with pytest.raises(SourceError, match=r"changed: data/new\.txt, data/pack/one\.jsonl, data/pack/two\.jsonl\. If"):
        fetch_all(config)
    assert Path("data.dvc").read_bytes() == before


def test_changed_data_are_refused_without_a_cache_to_compare_with(config: Config) -> None:
    shutil.rmtree(".dvc/cache")
    Path("data/pack/one.jsonl").write_text('{"input": "mine", "target": "y"}\n')
    with pytest.raises(SourceError, match=r"changed: data/\. If you meant it"):
        fetch_all(config)


@pytest.mark.heavy
def test_a_package_that_builds_other_data_is_refused(config: Config) -> None:
    fresh_clone()
    other = replace(config, data=replace(config.data, members={"one": "one"}))
    before = Path("data.dvc").read_bytes()
    with pytest.raises(SourceError, match=r"data/ is not what data\.dvc says"):
        fetch_all(other)
    assert Path("data.dvc").read_bytes() == before


@pytest.mark.heavy
def test_a_hash_that_dvc_rewrote_is_refused_until_it_is_staged(config: Config) -> None:
    Path("data/pack/one.jsonl").write_text('{"input": "mine", "target": "y"}\n')
    run(sys.executable, "-m", "dvc", "add", "--quiet", "data")  # as `dvc repro` does it
    with pytest.raises(SourceError, match=r"`git add data\.dvc` and run again"):
        require_committed_data()
    with pytest.raises(SourceError, match=r"`git add data\.dvc` and run again"):
        fetch_all(config)
    run("git", "add", "data.dvc")
    require_committed_data()
    fetch_all(config)


def test_a_missing_file_of_a_task_is_refused_with_those_that_are_there(config: Config) -> None:
    missing = replace(config, task=replace(config.task, source=SourceConfig(path="data/pack/on.jsonl")))
    with pytest.raises(DataError, match=r"data/pack/on\.jsonl is missing.*did you mean 'one\.jsonl'"):
        fetch_all(missing)


def test_a_hub_task_inside_data_is_refused(config: Config) -> None:
    source = SourceConfig(path="data/a.jsonl", hub="owner/name", revision="r", split="train")
    with pytest.raises(ConfigError, match="put a hub data set next to it"):
        fetch_all(replace(config, task=replace(config.task, source=source)))
