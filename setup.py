"""What pyproject.toml cannot say: the wheel also holds the files that `whether new` makes a project of."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "src"))

from whether.repository.shipped import COPIED, FOLDER, KEPT, matching  # noqa: E402 - found by the line above


class BuildWithProject(build_py):
    """Copy them from their places in the repository; an editable installation reads them there."""

    def run(self) -> None:
        """Build the package, then add the files."""
        super().run()
        if not self.editable_mode:
            for source, target in self.project_files().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target, preserve_mode=False)

    def project_files(self) -> dict[str, str]:
        """Map each file, relative to the repository, to its place in the wheel."""
        place = Path(self.build_lib) / "whether" / FOLDER
        return {str(file): str(place / file) for file in matching([*COPIED, *KEPT], ROOT)}

    def get_source_files(self) -> list[str]:
        """Return what an sdist must hold."""
        return [*super().get_source_files(), *self.project_files()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return what was made."""
        added = [] if self.editable_mode else self.project_files().values()
        return [*super().get_outputs(include_bytecode), *added]


setup(cmdclass={"build_py": BuildWithProject})
