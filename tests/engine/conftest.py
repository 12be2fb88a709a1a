"""A loaded tiny model."""

from pathlib import Path

import pytest
from references import model_config

from whether.engine.local import LocalModel


@pytest.fixture(scope="session")
def tiny(tiny_model: Path) -> LocalModel:
    return LocalModel.load(tiny_model, None, model_config())


@pytest.fixture(scope="session")
def vocabulary(tiny: LocalModel) -> int:
    return int(tiny.model.config.vocab_size)
