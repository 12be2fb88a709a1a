"""What a project was made of: .whether.json, by which `whether upgrade` knows the files that are still as shipped.

Each file is recorded by the id that git gives its content, so the project's history has its original.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from whether import __version__
from whether.records import read_json, write_json
from whether.repository.git import blob, blob_id

ORIGIN = Path(".whether.json")
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ProjectOrigin:
    """The files of the version that made a project, or that it was last upgraded to."""

    version: str
    """Of whether."""
    name: str
    """What the project's README.md calls it."""
    files: dict[str, str]
    """Path of a file → git's id of the content that was shipped."""
    originals: dict[str, str]
    """Path → the content that was shipped, of files that differed already when this was written: no commit has it."""
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version > SCHEMA_VERSION:
            raise ValueError(
                f"schema_version is {self.schema_version}, and whether {__version__} reads up to {SCHEMA_VERSION}:"
                " install the version that wrote it, or a newer one"
            )

    def original(self, path: str) -> str | None:
        """Return what was shipped as a file; None where nothing was, or where the history does not have it."""
        if path in self.originals:
            return self.originals[path]
        return blob(self.files[path]) if path in self.files else None


def read_origin(project: Path) -> ProjectOrigin | None:
    """Read a project's record; None for a project of a version that wrote none. Raises RecordError."""
    return read_json(project / ORIGIN, ProjectOrigin) if (project / ORIGIN).exists() else None


def write_origin(project: Path, name: str, shipped: Mapping[str, str]) -> None:
    """Record what is shipped now, path → content, for a project whose files are in place."""
    there = {path: text for path, text in shipped.items() if (project / path).exists()}
    differing = {path: text for path, text in there.items() if (project / path).read_text(encoding="utf-8") != text}
    ids = {path: blob_id(text) for path, text in shipped.items()}
    origin = ProjectOrigin(version=__version__, name=name, files=ids, originals=differing)
    write_json(project / ORIGIN, origin)
