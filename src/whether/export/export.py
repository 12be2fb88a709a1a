"""A tuned checkpoint as a plain model folder that needs neither this project nor peft, with its model card.

Writes into the folder:

config.json, model.safetensors    the base model with the checkpoint merged into its weights
generation_config.json            greedy by default, and ending answers at the tokens at which the engine ends them
tokenizer.json, …                 the base model's tokenizer and chat template, byte for byte
README.md                         the model card (whether.export.card)
"""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whether.config import Config
from whether.errors import EngineError, RecordError
from whether.export.card import write_card
from whether.export.facts import read_card_data
from whether.export.kinds import find_checkpoint
from whether.model.info import eos_token_ids
from whether.model.loading import apply_checkpoint, load_base
from whether.records import output_folder

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_MADE_ANEW = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "source.json")
"""Files of artifacts/model that are not copied: those of the weights, and our own record."""


def export(
    name: str, config: Config, *, artifacts: Path, folder: Path, dtype: str | None = None, force: bool = False
) -> None:
    """Merge checkpoint `name` into the base model and write it, with its card, as `folder`.

    The weights are merged in the precision that the checkpoint was trained and measured in, so they are those that the
    engine answers with to the last bit; another `dtype` is a rounding of them. `folder` is there whole or not at
    all. `force` replaces a model folder that is in its place.

    Raises ConfigError, RecordError or EngineError for a checkpoint that is unknown, not tuned, or cannot be merged, and
    RecordError for a folder that is in use.
    """
    checkpoint = find_checkpoint(name, config.checkpoints, artifacts)
    target = folder.expanduser().resolve()
    _check_target(target, folder, force, artifacts.resolve())
    facts = read_card_data(name, config, artifacts, dtype)
    saved_as = facts.dtype
    with output_folder(target) as unfinished:
        _write_model(artifacts / "model", checkpoint, unfinished, facts.measured_dtype, saved_as)
        write_card(facts, unfinished)
    size = sum(file.stat().st_size for file in target.iterdir())
    logger.info("%s: checkpoint %s in %s, %.1f MB, with its card in README.md", folder, name, saved_as, size / 1e6)


def _check_target(target: Path, given: Path, force: bool, artifacts: Path) -> None:
    """Refuse to write over anything but an earlier export, and that only if asked to."""
    if target.is_relative_to(artifacts):
        raise RecordError(f"{given} is in artifacts/, where only stages write: name a folder outside of it")
    if target.is_file():
        raise RecordError(f"{given} is a file: name a folder that is not there yet")
    if not target.exists() or not any(target.iterdir()):
        return
    if Path.cwd().is_relative_to(target) or not (target / "config.json").is_file():
        raise RecordError(f"{given} is in use and no model folder (no config.json): name one that is not there yet")
    if not force:
        raise RecordError(f"{given} is not empty: name another folder, or replace it with --force")


def _write_model(base: Path, checkpoint: Path, folder: Path, merged_in: str, saved_as: str) -> None:
    """Write weights, settings and tokenizer, and check that what is read back is what was merged."""
    import torch

    model, tokenizer = load_base(base, getattr(torch, merged_in))
    dtype = getattr(torch, saved_as)
    merged = apply_checkpoint(model, checkpoint).model.to(dtype)
    _set_ending(merged.generation_config, tokenizer)
    merged.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # the library makes it readable by its owner only
    for file in sorted(base.iterdir()):
        if file.is_file() and not any(file.match(pattern) for pattern in _MADE_ANEW):
            shutil.copyfile(file, folder / file.name)
    expected = _fingerprints(merged)
    del model, merged  # two large models need not be in memory together
    _check_weights(folder, expected, dtype)


def _set_ending(generation_config: Any, tokenizer: Any) -> None:
    """End an answer where the engine does, and name a padding token, without which `generate` warns."""
    ending = sorted(eos_token_ids(generation_config, tokenizer))
    generation_config.eos_token_id = ending[0] if len(ending) == 1 else ending or None
    if generation_config.pad_token_id is None:
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(ending), None)
        generation_config.pad_token_id = padding


def _check_weights(folder: Path, expected: dict[str, str], dtype: "torch.dtype") -> None:
    """Load the folder as anybody would and compare every tensor: tied or renamed weights can get lost on the way."""
    from transformers import AutoModelForCausalLM

    found = _fingerprints(AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).to(dtype))
    differing = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if differing:
        raise EngineError(
            f"the merged model is not what transformers reads back: {len(differing)} tensors differ, such as"
            f" {differing[0]}; the architecture ties or renames weights that the checkpoint changes: use peft"
        )


def _fingerprints(model: Any) -> dict[str, str]:
    """Return a hash of the bytes of each tensor, by name."""
    import torch

    def digest(tensor: torch.Tensor) -> str:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()

    return {name: digest(tensor) for name, tensor in model.state_dict().items()}
