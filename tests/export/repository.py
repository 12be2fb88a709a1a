"""Where the tests of an export work."""

from dataclasses import dataclass
from pathlib import Path

from whether.config import Config


@dataclass(frozen=True)
class Study:
    """A repository's folder after `dvc repro`, without DVC."""

    root: Path
    config: Config

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"
