"""`whether new`: a wheel, a project made with it, and the pipeline in that project.

The wheel is built from a copy of this tree, and used unpacked; only the slow test installs it.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from whether import __version__
from whether.cli.app import command
from whether.errors import ConfigError, WhetherError
from whether.repository.code import CODE, FLOW, hash_of, project_flow, write_code
from whether.repository.shipped import COPIED, KEPT, matching

ROOT = Path(__file__).parents[2]
TREE = ("src/whether", "conf", "knowledge", "examples", "pipelines", "docs")
TINY = """
stages:
  numbers:
    cmd: echo >> numbers.txt
    deps: [pipelines/compare.py, src/whether/stats]
  words:
    cmd: echo >> words.txt
    deps: [src/whether/chat, src/whether/sources/tables/__init__.py]
"""


def listed(*folders: str) -> list[str]:
    """Files of this tree that git knows or could know."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders]
    shown = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in shown.split("\0") if name and (ROOT / name).is_file()]


def ran(where: Path, words: str, environment: dict[str, str], fails: bool = False) -> str:
    """Run a shell command; return what it printed."""
    done = subprocess.run(
        ["bash", "-c", words], cwd=where, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, f"{words}\n{done.stdout[-6000:]}"
    assert "Traceback" not in done.stdout, done.stdout[-6000:]
    return done.stdout


def refused(*words: str) -> str:
    """The error that a command line ends with."""
    with pytest.raises(WhetherError) as caught:
        command(words)
    return str(caught.value)


@pytest.fixture
def person(tmp_path: Path) -> dict[str, str]:
    """The environment of someone whom git knows."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    names = {f"GIT_{role}_{what}": "t@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return os.environ | names | {"PATH": path, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, edits that are not committed included, built as `make dist` does."""
    copy = tmp_path_factory.mktemp("source")
    for name in listed():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (line,) = re.findall(r"^\t@(uv build .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    ran(copy, line.replace("$(BIN)/python", sys.executable), environment)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked: before this tree on PYTHONPATH it is what runs."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_no_stage_of_a_project_names_the_source_and_each_part_is_there(tmp_path: Path) -> None:
    text = project_flow((ROOT / FLOW).read_text())
    assert "src/" not in text
    made = yaml.safe_load(text)
    ours = yaml.safe_load((ROOT / FLOW).read_text())
    assert list(made["stages"]) == ["code", *ours["stages"]]
    for name, stage in ours["stages"].items():
        project = made["stages"][name]
        assert (project["cmd"], project["outs"]) == (stage["cmd"], stage["outs"])
        code = [dep for dep in stage["deps"] if dep.startswith(("src/", "pipelines/"))]
        assert project.get("deps", []) == [dep for dep in stage["deps"] if dep not in code]
        *params, last = project["params"]
        assert params == stage.get("params", [])
        assert len(last[str(CODE)]) == len(code)
        assert all(len(hash_of(part, tmp_path)) == 16 and "." not in part for part in last[str(CODE)])
    assert {key: made[key] for key in made if key != "stages"} == {key: ours[key] for key in ours if key != "stages"}


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dvc\.yaml watches prompt/gone, which whether .* does not have: `whether"):
        hash_of("prompt/gone", tmp_path)


@pytest.mark.parametrize(
    ("text", "said"), [(None, "dvc.yaml is missing: run this"), ("[", "not a flow"), ("", "not a")]
)
def test_a_folder_without_a_flow_is_told_so(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / FLOW).write_text(text)
    with pytest.raises(ConfigError, match=said):
        write_code(tmp_path)


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert "full is there and not empty: name a new folder" in refused("new", "full")
    assert "file is a file" in refused("new", "file")
    assert "is the working folder" in refused("new", ".")
    assert (tmp_path / "full/mine.txt").read_text() == "mine"


def test_an_unknown_task_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    assert "no such task; did you mean 'tickets'" in refused("new", str(tmp_path / "demo"), "--task", "ticket")
    assert list(tmp_path.iterdir()) == []


def test_pages_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert not command(["docs"])
    listing = capsys.readouterr().out.splitlines()
    assert len(listing) == len(list((ROOT / "docs").glob("*.md")))
    assert not command(["docs", "docs/served.md"])
    assert capsys.readouterr().out == (ROOT / "docs/served.md").read_text()
    assert "did you mean 'served'" in refused("docs", "serve")


@pytest.mark.real(minutes=1)
def test_the_wheel_holds_the_package_and_what_projects_are_made_of(installed: Path) -> None:
    package = [name.removeprefix("src/") for name in listed("src/whether")]
    assert [name for name in package if not (installed / name).is_file()] == []
    assert (installed / "whether/py.typed").is_file()
    project = installed / "whether/project"
    there = {file.relative_to(project).as_posix() for file in project.rglob("*") if file.is_file()}
    folders = [name for pattern in COPIED + KEPT if (name := pattern.partition("/")[0]) != "docs"]
    left_out = {"examples/demo_drift.py", "examples/screenshots.py"}
    assert {*listed(*folders)} - left_out | {*listed("docs/*.md")} == there
    facts = next(installed.glob("*.dist-info"), installed) / "METADATA"
    assert {f"Version: {__version__}", "License-Expression: Apache-2.0", "Provides-Extra: qlora"} <= {
        *facts.read_text().splitlines()
    }


@pytest.mark.real(minutes=1)
def test_a_project_is_made_with_the_wheel_and_dvc_reads_it(
    installed: Path, person: dict[str, str], tmp_path: Path
) -> None:
    environment = person | {"PYTHONPATH": str(installed)}
    said = ran(tmp_path, "python -m whether.cli new 'my demo' --task tickets", environment)
    assert "cd 'my demo'" in said
    demo = tmp_path / "my demo"
    assert ran(demo, "git status --porcelain && git log --format=%s", environment) == (
        f"New project of whether {__version__}\n"
    )
    for file in matching(COPIED, ROOT):
        if file.name != "config.yaml":
            assert (demo / file).read_bytes() == (ROOT / file).read_bytes(), file
    assert yaml.safe_load((demo / "params.yaml").read_text())["task"]["name"] == "tickets"
    assert "# my demo\n" in (demo / "README.md").read_text()
    others = [file for file in demo.rglob("*") if file.is_file() and ".git" not in file.parts]
    assert [file.name for file in others if "src/" in file.read_text()] == []
    assert [file.name for file in others if "make run" in file.read_text()] == []
    ran(demo, "python -m pipelines.compose --check", environment)
    assert installed.as_posix() in ran(
        demo, "python -c 'import pipelines.retrain as it; print(it.__file__)'", environment
    )
    stages = yaml.safe_load((ROOT / FLOW).read_text())["stages"]
    shown = ran(demo, "dvc stage list --name-only && dvc dag --dot && dvc status --quiet; true", environment)
    assert "ERROR" not in shown
    assert {re.split("@|\n", line)[0] for line in shown.splitlines()} >= {"code", *stages}


@pytest.mark.real(minutes=1)
def test_a_new_version_reruns_what_its_changes_concern(installed: Path, person: dict[str, str], tmp_path: Path) -> None:
    package = tmp_path / "site"
    shutil.copytree(installed, package)
    environment = person | {"PYTHONPATH": str(package)}
    ran(tmp_path, "python -m whether.cli new demo", environment)
    demo = tmp_path / "demo"
    meta = yaml.safe_load((demo / FLOW).read_text())["stages"]["code"]["meta"]
    flow = project_flow(TINY)
    (demo / FLOW).write_text(re.sub(r"flow: \w+", f"flow: {meta['flow']}", flow))

    def reran() -> list[str]:
        found = re.findall(r"Running stage '(\w+)'", ran(demo, "dvc repro 2>&1", environment))
        return [name for name in found if name != "code"]

    assert reran() == ["numbers", "words"]
    assert reran() == []
    for names, expected in (
        (["stats/intervals.py", "sources/hub.py"], ["numbers"]),
        (["sources/tables/__init__.py"], ["words"]),
        (["project/pipelines/compare.py"], ["numbers"]),
    ):
        for file in (package / "whether" / name for name in names):
            file.write_text(file.read_text() + "# edited\n")
        assert reran() == expected, names
    (demo / "pipelines/compare.py").write_text('"""A stage of our own."""\n')
    (package / "whether/project/dvc.yaml").write_text("stages: {}\n")
    said = ran(demo, "dvc repro 2>&1", environment)
    assert "Running stage 'numbers'" in said
    assert "dvc.yaml was made for another flow than that of whether" in said


@pytest.mark.real(minutes=1)
def test_without_a_name_for_commits_the_files_are_staged(person: dict[str, str], tmp_path: Path) -> None:
    environment = {key: value for key, value in person.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    said = ran(tmp_path, "whether new demo", environment)
    assert "git commit -m 'New project'       all is staged, but git says: " in said
    assert "README.md" in ran(tmp_path / "demo", "git diff --cached --name-only", environment)
    ran(tmp_path / "demo", "git -c user.name=t -c user.email=t@example.com commit -q -m 'New project'", environment)


@pytest.mark.real(minutes=1)
def test_without_git_nothing_is_left(person: dict[str, str], tmp_path: Path) -> None:
    words = [sys.executable, "-m", "whether.cli", "new", "demo"]
    done = subprocess.run(
        words, cwd=tmp_path, env=person | {"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: git cannot be run (No such file or directory)")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_the_wheel_in_an_empty_environment_runs_to_a_verdict(wheel: Path, tmp_path: Path) -> None:
    """With nothing installed and an empty home: pip, a new project, the smoke experiment."""
    (tmp_path / "home").mkdir()
    kept = {key: os.environ[key] for key in os.environ if key.startswith(("PIP_", "LANG", "LC_", "SSL_", "REQUESTS_"))}
    path = [part for part in os.environ["PATH"].split(os.pathsep) if not part.startswith(str(ROOT))]
    environment = kept | {"HOME": str(tmp_path / "home"), "PATH": os.pathsep.join([str(tmp_path / "venv/bin"), *path])}
    ran(tmp_path, f"{sys.executable} -m venv venv", environment)
    ran(tmp_path, f"pip install --quiet -c {ROOT}/constraints.txt {wheel}", environment)
    said = ran(tmp_path, "whether new demo && cd demo && whether run experiment=smoke", environment)
    assert "artifacts/report/report.html" in said
    assert (tmp_path / "demo/artifacts/compare/verdict.json").is_file()
    again = ran(tmp_path / "demo", "whether run experiment=smoke", environment)
    assert set(re.findall(r"Running stage '([^']+)'", again)) == {"code"}
