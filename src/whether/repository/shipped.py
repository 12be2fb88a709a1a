"""The files of the repository that the wheel carries with the package, so that `whether new` can make a project.

setup.py copies them into the wheel as whether/project/; in an editable installation they lie where they are. It imports
this file while the package is being built, so nothing but the standard library is imported here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from whether.errors import ConfigError

PACKAGE = Path(__file__).parents[1]
"""Folder of the installed package."""
FOLDER = "project"
"""Where the wheel has the files, below `PACKAGE`."""
COPIED = (
    "conf/**/*.yaml",
    "knowledge/**/*.md",
    "examples/minimal.py",
    "examples/*.csv",
    "examples/*.jsonl",
    "data.dvc",
    "constraints.txt",
    ".gitignore",
    ".dvcignore",
    ".dvc/config",
    ".dvc/.gitignore",
)
"""What a new project has copies of."""
KEPT = ("dvc.yaml", "pipelines/*.py", "docs/*.md")
"""What stays in the package: a project has the flow in another form; stages and pages are read from here."""


def shipped() -> Path:
    """Return the folder with the files. Raises ConfigError for an installation without them."""
    for folder in (PACKAGE / FOLDER, PACKAGE.parents[1]):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise ConfigError(
        f"{PACKAGE / FOLDER} is missing: this installation of whether is not complete; install its wheel again"
    )


def matching(patterns: Sequence[str], folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that match, relative to it, in the order of the patterns."""
    for pattern in patterns:
        yield from sorted(file.relative_to(folder) for file in folder.glob(pattern) if file.is_file())
