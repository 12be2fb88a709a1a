"""`whether new`: a folder of one's own in which the pipeline runs, with the installed package's code."""

import os
import re
import shlex
import subprocess
from importlib.resources import files
from pathlib import Path

from jinja2 import StrictUndefined, Template

from whether import __version__
from whether.config import compose
from whether.errors import ConfigError, RecordError, near_matches
from whether.records import output_folder, write_text
from whether.repository.code import FLOW, STAGES, project_flow, write_code
from whether.repository.origin import write_origin
from whether.repository.shipped import COPIED, matching, shipped

_STAGES = '''"""The stages of the installed package: `python -m pipelines.<stage>`. A file here comes first."""

from whether.repository.shipped import shipped

__path__ = [*__path__, str(shipped() / "pipelines")]
'''


def make_project(folder: Path, task: str | None) -> None:
    """Write a project to a new folder, with its first commit, and say what to do there.

    `task` is a file of conf/task, without .yaml, that becomes the default. Raises ConfigError where the folder is in
    use or there is no such task, RecordError where git cannot be run; then nothing is left of the folder.
    """
    _check_free(folder)
    with output_folder(folder) as made:
        write_project(made, _shown(folder.resolve().name), task)
        reason = _commit(made)
    print(f"{_shown(folder)} is a project now: settings in conf/, the flow in dvc.yaml, and README.md says the rest.\n")
    print(f"  cd {shlex.quote(_shown(folder))}")
    if reason:
        print(f"  git commit -m 'New project'       all is staged, but {reason}")
    print("  whether run experiment=smoke      small, in minutes: does everything run?\n  whether run")


def write_project(folder: Path, name: str, task: str | None) -> None:
    """Write a project's files, its settings composed, into an empty folder."""
    texts = project_files(name)
    for path, text in texts.items():
        write_text(folder / path, text)
    if task:
        _choose_task(task, folder / "conf")
    write_code(folder)
    write_text(folder / "params.yaml", compose([], folder / "conf"))
    write_origin(folder, name, texts)


def project_files(name: str) -> dict[str, str]:
    """Return what the installed version ships for a project of this name: path → content."""
    source = shipped()
    texts = {file.as_posix(): (source / file).read_text(encoding="utf-8") for file in matching(COPIED, source)}
    texts[str(FLOW)] = project_flow((source / FLOW).read_text(encoding="utf-8"))
    texts[f"{STAGES}/__init__.py"] = _STAGES
    page = files("whether.cli").joinpath("project_readme.md.j2").read_text(encoding="utf-8")
    template = Template(page, undefined=StrictUndefined, keep_trailing_newline=True)
    texts["README.md"] = template.render(name=name, version=__version__)
    return texts


def _shown(name: Path | str) -> str:
    """Return a name as it can be printed: a file system has names that are not text."""
    return str(name).encode("utf-8", "replace").decode("utf-8")


def _check_free(folder: Path) -> None:
    """Raise ConfigError where a folder cannot be made."""
    if folder.exists() and folder.samefile(Path.cwd()):
        raise ConfigError(f"{folder} is the working folder: name a new one, as in `whether new my-project`")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is there and not empty: name a new folder, or remove this one")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: name a new folder")


def _choose_task(task: str, conf: Path) -> None:
    """Make a task the default of conf/config.yaml. Raises ConfigError for one that conf/task does not have."""
    known = [file.stem for file in (conf / "task").glob("*.yaml")]
    if task not in known:
        raise ConfigError(f"--task {task}: no such task{near_matches(task, known)}")
    text = (conf / "config.yaml").read_text(encoding="utf-8")
    write_text(conf / "config.yaml", re.sub(r"^(  - task: )\w+", rf"\g<1>{task}", text, flags=re.MULTILINE))


def _commit(folder: Path) -> str:
    """Begin a git repository with all files staged and, if git knows who commits, committed; return why not, or ""."""
    _git(folder, "init", "--quiet")
    _git(folder, "add", "--all")
    try:
        message = f"New project of whether {__version__}"
        # Without a name that git guesses from the machine's.
        _git(folder, "-c", "user.useConfigOnly=true", "commit", "--quiet", "--message", message)
    except RecordError as error:
        return str(error)
    return ""


def _git(folder: Path, *arguments: str) -> None:
    """Run git in a folder. Raises RecordError with what it says."""
    # Of a hook that calls this, these would name another repository.
    environment = {
        key: value for key, value in os.environ.items() if key not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise RecordError(f"git cannot be run ({error.strerror}), and a project's versions are kept by it") from error
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        named = next((line for line in said if line.startswith("fatal: ")), said[-1] if said else "it says nothing")
        raise RecordError(f"git says: {named.removeprefix('fatal: ')}")
