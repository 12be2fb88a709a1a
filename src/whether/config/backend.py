"""What `model.backend: auto` stands for in a run."""

from dataclasses import replace
from pathlib import Path

from whether.config.sections import ModelConfig
from whether.records import BackendChoice, read_json


def with_chosen_backend(config: ModelConfig, artifacts: Path) -> ModelConfig:
    """Return the settings with the backend that stage `backend` chose in place of `auto`.

    Raises RecordError where that has not run.
    """
    if config.backend != "auto":
        return config
    return replace(config, backend=read_json(artifacts / "backend" / "backend.json", BackendChoice).backend)
