"""Finding a checkpoint to export, and what to use in place of a model folder for a kind that cannot be one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whether.config import BASE, CheckpointConfig
from whether.errors import ConfigError, EngineError, RecordError, near_matches
from whether.model.loading import error_summary
from whether.records import CHECKPOINT, read_json

_INSTEAD = {
    "served": "is another model behind an API, of which nothing is here",
    "base": "is the model as it is: artifacts/model is a plain model folder already",
    "head": "answers with a classification head that is not part of a language model: answer with it through this"
    " project (whether.engine), or tune a checkpoint that changes weights, such as lora",
}
"""Kind of checkpoint.json → why there is no model folder of it, and what to use."""


def find_checkpoint(name: str, settings: Mapping[str, CheckpointConfig], artifacts: Path) -> Path:
    """Return the folder of a tuned checkpoint that can be merged into a plain model.

    Raises ConfigError for a name that is in neither the settings nor artifacts/finetune, RecordError for a checkpoint
    that is not tuned yet, and EngineError for one of a kind that weights cannot hold.
    """
    folder = artifacts / "finetune" / name / CHECKPOINT
    if not (folder / "checkpoint.json").is_file():
        if name in settings:
            raise RecordError(f"checkpoint {name} is not tuned yet: run `dvc repro finetune@{name}`")
        made = {file.parents[1].name for file in (artifacts / "finetune").glob(f"*/{CHECKPOINT}/checkpoint.json")}
        raise ConfigError(f"no checkpoint is called {name!r}{near_matches(name, (made | set(settings)) - {BASE})}")
    kind = str(read_json(folder / "checkpoint.json").get("kind"))
    if kind in _INSTEAD:
        raise EngineError(f"checkpoint {name} cannot be a model folder: it {_INSTEAD[kind]}")
    if kind == "adapter":
        _refuse_learned_prompt(name, folder / "adapter")
    return folder


def _refuse_learned_prompt(name: str, adapter: Path) -> None:
    config = peft_config(adapter)
    if config.is_prompt_learning:
        raise EngineError(
            f"checkpoint {name} cannot be a model folder: {config.peft_type.value} puts learned vectors before each"
            f" prompt, and weights cannot hold them. Load it with peft instead:"
            f" PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained('artifacts/model'), '{adapter}'); or tune"
            " a checkpoint that changes weights, such as lora"
        )


def peft_config(adapter: Path) -> Any:
    """Read an adapter's settings. Raises EngineError for a folder that holds none or broken ones."""
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(str(adapter), local_files_only=True)
    except Exception as error:
        raise EngineError(f"{adapter} cannot be read as an adapter: {error_summary(error)}") from error
