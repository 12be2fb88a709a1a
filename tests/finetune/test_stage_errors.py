"""What the stage says, before it trains, of settings that do not go: with the checkpoint's file."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tuning import training_data

from pipelines.finetune import main
from whether.config import CONF, compose, load, write_params
from whether.errors import ConfigError, MissingPackageError

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.heavy


@pytest.fixture
def settings(artifacts: Path) -> Callable[..., None]:
    """Return what composes settings in the working folder."""

    def write(*overrides: str) -> None:
        write_params(compose(["model.device=cpu", "model.threads=1", "curve=none", *overrides], ROOT / CONF))
        training_data(artifacts, tuner=load().checkpoints["lora"].tuner)

    return write


def test_layers_that_the_model_lacks_are_named_with_the_checkpoints_file(settings: Callable[..., None]) -> None:
    settings("checkpoints.lora.tuner.adapter.target_modules=[q_prj]")
    place = r"^conf/checkpoint/lora.yaml: tuner.adapter.target_modules: the model has no layer 'q_prj'; did you mean"
    with pytest.raises(ConfigError, match=place):
        main(["lora"])


def test_a_further_training_run_has_the_file_of_its_checkpoint(settings: Callable[..., None], artifacts: Path) -> None:
    settings("training_runs=3", "checkpoints.lora.tuner.adapter.target_modules=[q_prj]")
    training_data(artifacts, "lora_run2", load().checkpoints["lora_run2"].tuner)
    with pytest.raises(ConfigError, match=r"^conf/checkpoint/lora.yaml: tuner.adapter"):
        main(["lora_run2"])


def test_nothing_is_tuned_for_a_backend_that_is_not_installed(
    settings: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings("model.backend=vllm")
    monkeypatch.setattr("whether.config.packages.find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(MissingPackageError, match=r"^model.backend: vllm needs the package 'vllm'"):
        main(["lora"])
    main(["base"])
