"""Loading a base model, and putting a checkpoint on it or on a second model next to it."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from whether.errors import EngineError, near_matches
from whether.model.memory import keep_freed_memory
from whether.records import read_json

if TYPE_CHECKING:
    import torch

    from whether.model.virtual_tokens import KeysValues

logger = logging.getLogger(__name__)

CHECKPOINT_KINDS = ("base", "adapter", "weights", "head", "served")
"""Kinds of checkpoint."""
WEIGHTS_FILE = "weights.safetensors"
"""Trained weights by name, of checkpoints of the kinds `weights` and `head`."""

_DECODING_SETTINGS = (
    "do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram_size", "num_beams",
)  # fmt: skip


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Look for no garbage meanwhile: importing libraries makes millions of objects and none, and is a fifth quicker."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@gc_disabled()
def load_base(folder: Path, dtype: "torch.dtype") -> tuple[Any, Any]:
    """Load model and tokenizer from a folder; whatever goes wrong is an EngineError that names it."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    keep_freed_memory()
    tokenizer = load_tokenizer(folder)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True,
            trust_remote_code=False,
        )  # fmt: skip
    except Exception as error:
        raise EngineError(f"{folder} cannot be loaded as a model: {error_summary(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise EngineError(f"{folder} lacks weights of the model that its config.json describes, such as {missing[0]}")
    _reset_generation_config(model)
    return model, tokenizer


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model folder. Raises EngineError for a folder that is none, or is broken."""
    from transformers import AutoTokenizer

    if not (folder / "config.json").is_file():
        raise EngineError(f"{folder} is not a model folder (no config.json): run `dvc repro model` to make it")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise EngineError(f"{folder} cannot be loaded as a model: {error_summary(error)}") from error


def _reset_generation_config(model: Any) -> None:
    """Leave only special tokens in a model's generation config, so that greedy means the most likely token.

    A folder may ship settings that change even greedy answers, such as a repetition penalty.
    """
    from transformers import GenerationConfig

    kept = ("bos_token_id", "eos_token_id", "pad_token_id")
    shipped = model.generation_config.to_diff_dict()
    changed = {key: value for key, value in shipped.items() if key in _DECODING_SETTINGS}
    if changed:
        logger.info("decoding is greedy; the model folder's own settings are not used: %s", changed)
    model.generation_config = GenerationConfig(**{key: getattr(model.generation_config, key) for key in kept})


class AppliedCheckpoint(NamedTuple):
    """A base model with a checkpoint on it."""

    model: Any
    """With the checkpoint's weights."""
    virtual_tokens: "KeysValues | None" = None
    """Keys and values in front of every sequence; None: nothing."""
    classifier: Any = None
    """A second model on the first one's weights that ends in a label head; None: answers are generated."""


def apply_checkpoint(model: Any, folder: Path) -> AppliedCheckpoint:
    """Return the model with a checkpoint on it; the model given is changed too.

    `kind` in checkpoint.json says how. `base`: not at all. `adapter`: peft's format in adapter/, merged into the
    weights or, if it is virtual tokens, put before each sequence. `weights`: trained weights by name, in
    weights.safetensors. `head`: a linear classifier there, of the `labels` in checkpoint.json. Raises EngineError for a
    folder that is not a checkpoint or does not fit the model.
    """
    kind = checkpoint_kind(folder)
    if kind == "served":
        raise EngineError(f"{folder} names a model behind an API: it has no weights that could be loaded here")
    if kind == "adapter":
        return _put_adapter(model, folder / "adapter")
    if kind == "weights":
        return AppliedCheckpoint(_put_weights(model, folder / WEIGHTS_FILE))
    if kind == "head":
        from whether.model.label_head import replace_output_head

        labels: list[str] = read_json(folder / "checkpoint.json")["labels"]
        classifier = replace_output_head(share_weights(model), labels)
        return AppliedCheckpoint(model, classifier=_put_weights(classifier, folder / WEIGHTS_FILE))
    return AppliedCheckpoint(model)


def checkpoint_kind(folder: Path) -> str:
    """Return what kind of checkpoint a folder holds. Raises EngineError if it holds none."""
    if not (folder / "checkpoint.json").is_file():
        raise EngineError(f"{folder} is not a checkpoint folder (no checkpoint.json): run `dvc repro finetune`")
    kind = str(read_json(folder / "checkpoint.json").get("kind"))
    if kind not in CHECKPOINT_KINDS:
        raise EngineError(f"{folder / 'checkpoint.json'}: kind is {kind!r}{near_matches(kind, CHECKPOINT_KINDS)}")
    return kind


def _put_adapter(model: Any, adapter: Path) -> AppliedCheckpoint:
    from peft import PeftModel

    try:
        tuned = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
        if not tuned.active_peft_config.is_prompt_learning:
            return AppliedCheckpoint(tuned.merge_and_unload(safe_merge=True))
    except Exception as error:
        raise EngineError(f"{adapter} cannot be merged into the model: {error_summary(error)}") from error
    import torch

    from whether.model.virtual_tokens import learned_keys_values

    with torch.no_grad():
        return AppliedCheckpoint(model, virtual_tokens=learned_keys_values(tuned.eval()))


def _put_weights(model: Any, file: Path) -> Any:
    """Give a model the weights in a file, by name; each must be one of its own, of the same shape."""
    from safetensors.torch import load_file

    try:
        trained = load_file(file)
    except Exception as error:
        raise EngineError(f"{file} cannot be read: {error_summary(error)}") from error
    own = dict(model.named_parameters())
    for name, weight in trained.items():
        if name not in own or own[name].shape != weight.shape:
            has = f"of the shape {list(own[name].shape)}" if name in own else "not there"
            raise EngineError(f"{file} does not fit the model: its {name} is {has}, not of {list(weight.shape)}")
        # Another tensor, not other numbers: a model that shares the old one keeps it.
        own[name].data = weight.to(own[name])
    return model


def share_weights(model: Any) -> Any:
    """Return a second model whose weights are the first one's tensors, not copies.

    Its parameters are objects of its own, so that giving one another tensor, as a safe merge does, leaves the first
    model as it is.
    """
    import copy

    import torch

    own: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    own |= {id(weight): torch.nn.Parameter(weight.data, weight.requires_grad) for weight in model.parameters()}
    return copy.deepcopy(model, own)


def error_summary(error: Exception) -> str:
    """Return what kind of error it is and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def select_device(name: str) -> str:
    """Return the device to use: `auto` is CUDA, then MPS, then CPU."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available[name]:
        raise EngineError(f"device {name} is not available here: set model.device to auto or cpu")
    return name
