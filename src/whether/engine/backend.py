"""Which program runs a model's weights: `model.backend`."""

from pathlib import Path
from typing import TYPE_CHECKING

from whether.config import ModelConfig

if TYPE_CHECKING:
    from whether.engine.local import LocalModel
    from whether.engine.vllm import VLLMModel


def load_model(model_folder: Path, checkpoint_folder: Path | None, config: ModelConfig) -> "LocalModel | VLLMModel":
    """Load a model folder with a checkpoint (None: the base model) into the backend that `config` names (auto: engine).

    Raises EngineError for what cannot be loaded or does not run there, and MissingPackageError without the backend.
    """
    if config.backend == "vllm":
        from whether.engine.vllm import VLLMModel

        return VLLMModel.load(model_folder, checkpoint_folder, config)
    from whether.engine.local import LocalModel

    return LocalModel.load(model_folder, checkpoint_folder, config)
