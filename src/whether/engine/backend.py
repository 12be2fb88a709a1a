"""Which program runs a model's weights: `model.backend`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from whether.config import ModelConfig
from whether.records import BackendChoice, read_json

if TYPE_CHECKING:
    from whether.engine.local import LocalModel
    from whether.engine.vllm import VLLMModel


def with_chosen_backend(config: ModelConfig, artifacts: Path) -> ModelConfig:
    """Return the settings with the backend that stage `backend` chose in place of `auto`.

    Raises RecordError where that has not run.
    """
    if config.backend != "auto":
        return config
    return replace(config, backend=read_json(artifacts / "backend" / "backend.json", BackendChoice).backend)


def load_model(model_folder: Path, checkpoint_folder: Path | None, config: ModelConfig) -> "LocalModel | VLLMModel":
    """Load a model folder with a checkpoint (None: the base model) into the backend that `config` names (auto: engine).

    Raises EngineError for what cannot be loaded or does not run there, and MissingPackageError without the backend.
    """
    if config.backend == "vllm":
        from whether.engine.vllm import VLLMModel

        return VLLMModel.load(model_folder, checkpoint_folder, config)
    from whether.engine.local import LocalModel

    return LocalModel.load(model_folder, checkpoint_folder, config)
