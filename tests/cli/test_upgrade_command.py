"""`whether upgrade`: real projects of one version, taken to another one that ships other files."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from whether import __version__
from whether.cli.app import command
from whether.errors import ConfigError, RecordError
from whether.repository.git import blob_id
from whether.repository.origin import ORIGIN, read_origin
from whether.repository.shipped import COPIED, FOLDER, KEPT, matching

ROOT = Path(__file__).parents[2]
Shell = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The installed package as the wheel lays it out: whether/, and in it what projects are made of."""
    package = tmp_path / "site/whether"
    shutil.copytree(ROOT / "src/whether", package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in matching([*COPIED, *KEPT], ROOT):
        (package / FOLDER / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, package / FOLDER / file)
    return package


@pytest.fixture
def shell(package: Path, tmp_path: Path) -> Shell:
    """Runs a line of a shell in the folder of the project, with that package, and returns what is printed."""
    names = {f"GIT_{role}_{what}": "t@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | names | {"PYTHONPATH": str(package.parent), "GIT_CONFIG_NOSYSTEM": "1"}

    def run(line: str, fails: bool = False) -> str:
        done = subprocess.run(
            ["bash", "-c", line], cwd=demo if demo.exists() else tmp_path, env=environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, f"{line}\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    demo = tmp_path / "demo"
    run("python -m whether.cli new demo --task tickets")
    return run


@pytest.fixture
def demo(shell: Shell, tmp_path: Path) -> Path:
    """A project of this version."""
    return tmp_path / "demo"


def edit(file: Path, old: str, new: str) -> None:
    """Replace a part of a file that is there once."""
    text = file.read_text()
    assert text.count(old) == 1, (file, old)
    file.write_text(text.replace(old, new))


def release(package: Path, version: str) -> Path:
    """Give the package another version; return the folder of what it ships."""
    initial = package / "__init__.py"
    initial.write_text(re.sub(r"__version__ = .*", f'__version__ = "{version}"', initial.read_text()))
    return package / FOLDER


def listed(shown: str) -> dict[str, str]:
    """File → what was done with it."""
    return {path: what for what, path in re.findall(r"^  (\w+) +(\S+)", shown, re.MULTILINE)}


@pytest.mark.real(minutes=1)
def test_what_is_as_shipped_is_replaced_and_edits_are_kept(package: Path, demo: Path, shell: Shell) -> None:
    edit(demo / "conf/curve/default.yaml", "labels: [20, 50, 120]", "labels: [10, 30]")
    edit(demo / "conf/pricing/cloud_2vcpu.yaml", "usd_per_label: 0.10", "usd_per_label: 0.25")
    edit(demo / "conf/tracking/local.yaml", "models: tuned  ", "models: none  ")
    (demo / "examples/handbook_questions.jsonl").unlink()
    (demo / "conf/task/mine.yaml").write_text("# Mine.\n")
    shell("git add --all && git commit --quiet --message 'Our settings'")
    ships = release(package, "7.0.0")
    edit(ships / "dvc.yaml", "conf/ becomes params.yaml, checked", "conf/ becomes params.yaml, checked twice")
    edit(ships / "conf/curve/default.yaml", "test: 100 ", "test: 80 ")
    edit(ships / "conf/pricing/cloud_2vcpu.yaml", "usd_per_label: 0.10", "usd_per_label: 0.15")
    edit(ships / "conf/config.yaml", "seed: 0 ", "seed: 1 ")
    (ships / "conf/experiment/better_together.yaml").unlink()
    (ships / "conf/policy/strict.yaml").write_text((ships / "conf/policy/default.yaml").read_text())
    (ships / "examples/handbook_questions.jsonl").write_text("{}\n")
    expected = {
        "README.md": "replaced",
        "dvc.yaml": "replaced",
        "conf/curve/default.yaml": "merged",
        "conf/config.yaml": "merged",
        "conf/pricing/cloud_2vcpu.yaml": "left",
        "conf/experiment/better_together.yaml": "removed",
        "conf/policy/strict.yaml": "added",
    }

    said = shell("python -m whether.cli upgrade --dry-run")
    assert listed(said) == expected
    assert "Nothing is written yet" in said
    assert shell("git status --porcelain") == ""

    said = shell("python -m whether.cli upgrade")
    assert listed(said) == expected
    assert f"From whether {__version__} to 7.0.0" in said
    assert "is yours; the newer one is conf/pricing/cloud_2vcpu.yaml.new" in said
    assert "checked twice" in (demo / "dvc.yaml").read_text()
    assert "usd_per_label: 0.25" in (demo / "conf/pricing/cloud_2vcpu.yaml").read_text()
    assert "usd_per_label: 0.15" in (demo / "conf/pricing/cloud_2vcpu.yaml.new").read_text()
    assert not (demo / "conf/experiment/better_together.yaml").exists()
    assert not (demo / "examples/handbook_questions.jsonl").exists()
    settings = yaml.safe_load((demo / "params.yaml").read_text())
    assert (settings["task"]["name"], settings["seed"]) == ("tickets", 1)
    assert (settings["curve"]["labels"], settings["curve"]["test"]) == ([10, 30], 80)
    assert settings["tracking"]["models"] == "none"
    shell("python -m pipelines.compose --check")
    assert "Nothing to upgrade: this project is that of whether 7.0.0." in shell("python -m whether.cli upgrade")
    assert "another flow" not in shell("python -m whether.repository.code")

    # What was merged is merged again: its original is in no commit.
    (demo / "conf/pricing/cloud_2vcpu.yaml.new").unlink()
    shell("git add --all && git commit --quiet --message Upgraded")
    ships = release(package, "7.1.0")
    edit(ships / "conf/curve/default.yaml", "test: 80 ", "test: 60 ")
    said = shell("python -m whether.cli upgrade")
    assert listed(said) == {"README.md": "replaced", "dvc.yaml": "replaced", "conf/curve/default.yaml": "merged"}
    curve = yaml.safe_load((demo / "params.yaml").read_text())["curve"]
    assert (curve["labels"], curve["test"]) == ([10, 30], 60)


@pytest.mark.real(minutes=1)
def test_an_upgrade_that_was_interrupted_is_done_again(package: Path, demo: Path, shell: Shell) -> None:
    edit(demo / "conf/curve/default.yaml", "labels: [20, 50, 120]", "labels: [10, 30]")
    edit(demo / "conf/pricing/cloud_2vcpu.yaml", "usd_per_label: 0.10", "usd_per_label: 0.25")
    shell("git commit --all --quiet --message 'Our settings'")
    ships = release(package, "7.0.0")
    edit(ships / "conf/curve/default.yaml", "test: 100 ", "test: 80 ")
    edit(ships / "conf/pricing/cloud_2vcpu.yaml", "usd_per_label: 0.10", "usd_per_label: 0.15")
    shell("python -m whether.cli upgrade")
    after = shell("git stash --all --quiet && git stash show --include-untracked --patch && git stash pop --quiet")
    shell(f"git checkout --quiet {ORIGIN} dvc.yaml")  # as if it had ended in between
    assert listed(shell("python -m whether.cli upgrade")) == {
        "dvc.yaml": "replaced", "conf/pricing/cloud_2vcpu.yaml": "left",
    }  # fmt: skip
    again = shell("git stash --all --quiet && git stash show --include-untracked --patch && git stash pop --quiet")
    assert again == after


@pytest.mark.real(minutes=1)
def test_what_git_could_not_bring_back_is_not_written_over(package: Path, demo: Path, shell: Shell) -> None:
    ships = release(package, "7.0.0")
    edit(ships / "conf/curve/default.yaml", "test: 100 ", "test: 80 ")
    edit(demo / "conf/curve/default.yaml", "labels: [20, 50, 120]", "labels: [10, 30]")
    (demo / "notes.txt").write_text("mine")
    said = shell("python -m whether.cli upgrade", fails=True)
    assert "error: conf/curve/default.yaml: not committed, and an upgrade would write there: commit" in said
    assert shell("git status --porcelain") == " M conf/curve/default.yaml\n?? notes.txt\n"
    shell("git commit --all --quiet --message 'Our settings'")
    shutil.copytree(demo / ".git", demo.parent / "kept.git")
    shutil.rmtree(demo / ".git")
    assert "in no git repository" in shell("python -m whether.cli upgrade", fails=True)
    shutil.copytree(demo.parent / "kept.git", demo / ".git")
    assert listed(shell("python -m whether.cli upgrade"))["conf/curve/default.yaml"] == "merged"


@pytest.mark.real(minutes=1)
def test_a_project_without_a_record_keeps_all_that_differs(package: Path, demo: Path, shell: Shell) -> None:
    shell(f"git rm --quiet {ORIGIN} conf/policy/default.yaml && git commit --quiet --message 'As an earlier version'")
    ships = release(package, "7.0.0")
    edit(ships / "conf/curve/default.yaml", "test: 100 ", "test: 80 ")
    said = shell("python -m whether.cli upgrade")
    assert "This project has no .whether.json" in said
    assert listed(said) == {
        "README.md": "left", "dvc.yaml": "left", "conf/curve/default.yaml": "left", "conf/config.yaml": "left",
        "conf/policy/default.yaml": "added",
    }  # fmt: skip
    assert shell("git status --porcelain").count(".new\n") == 4
    record = read_origin(demo)
    assert record
    assert (record.version, record.name) == ("7.0.0", "demo")
    assert record.files["conf/curve/default.yaml"] == blob_id((ships / "conf/curve/default.yaml").read_text())
    assert "dvc.yaml was made for another flow" not in shell("python -m whether.repository.code"), "it is the same one"


@pytest.mark.real(minutes=1)
def test_settings_that_do_not_fit_the_newer_version_are_named(package: Path, demo: Path, shell: Shell) -> None:
    edit(demo / "conf/config.yaml", "  - policy: default ", "  - policy: ours ")
    (demo / "conf/policy/ours.yaml").write_text("defaults: [default]\nwithdrawn: 1\n")
    shell("git add --all && git commit --quiet --message 'Our settings'")
    release(package, "7.0.0")
    said = shell("python -m whether.cli upgrade", fails=True)
    assert "error: the files are upgraded, but your settings do not fit them yet: " in said
    assert "withdrawn" in said
    assert json.loads((demo / ORIGIN).read_text())["version"] == "7.0.0"


def test_a_clone_of_the_repository_is_no_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="in a clone of the repository, `git pull`"):
        command(["upgrade"])


def test_a_record_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / ORIGIN).write_text('{"version": "9", "name": "x", "files": {}, "originals": {}, "schema_version": 2}')
    with pytest.raises(RecordError, match=r"schema_version is 2, and whether .* reads up to 1"):
        read_origin(tmp_path)


def test_the_id_of_a_content_is_that_of_git(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("Zürich\n", encoding="utf-8")
    words = ["git", "hash-object", "file"]
    shown = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == blob_id("Zürich\n")
