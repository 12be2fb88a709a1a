"""Loading a base model, and merging a checkpoint's adapter into its weights or into a second model's beside it."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whether.errors import EngineError, near_matches
from whether.records import read_json

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_DECODING_SETTINGS = (
    "do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram_size", "num_beams",
)  # fmt: skip


def load_base(folder: Path, dtype: "torch.dtype") -> tuple[Any, Any]:
    """Load model and tokenizer from a folder; whatever goes wrong is an EngineError that names it."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = load_tokenizer(folder)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:
        raise EngineError(f"{folder} cannot be loaded as a model: {first_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise EngineError(f"{folder} lacks weights of the model that its config.json describes, such as {missing[0]}")
    _make_neutral(model)
    return model, tokenizer


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model folder. Raises EngineError for a folder that is none, or is broken."""
    from transformers import AutoTokenizer

    if not (folder / "config.json").is_file():
        raise EngineError(f"{folder} is not a model folder (no config.json): run `dvc repro model` to make it")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise EngineError(f"{folder} cannot be loaded as a model: {first_line(error)}") from error


def _make_neutral(model: Any) -> None:
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


def merge_checkpoint(model: Any, folder: Path) -> Any:
    """Return the model with a checkpoint's adapter merged into its weights; the model given is changed too."""
    adapter = adapter_folder(folder)
    if adapter is None:
        return model
    from peft import PeftModel

    try:
        tuned = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
        return tuned.merge_and_unload(safe_merge=True)
    except Exception as error:
        raise EngineError(f"{adapter} cannot be merged into the model: {first_line(error)}") from error


def adapter_folder(folder: Path) -> Path | None:
    """Return where a checkpoint's adapter is, or None for the base model.

    Raises EngineError for a folder that is no checkpoint, or whose adapter is of a kind that weights cannot hold.
    """
    if not (folder / "checkpoint.json").is_file():
        raise EngineError(f"{folder} is not a checkpoint folder (no checkpoint.json): run `dvc repro finetune`")
    kind = str(read_json(folder / "checkpoint.json").get("kind"))
    if kind == "base":
        return None
    if kind != "adapter":
        raise EngineError(f"{folder / 'checkpoint.json'}: kind is {kind!r}{near_matches(kind, ['base', 'adapter'])}")
    from peft import PeftConfig

    adapter = folder / "adapter"
    try:
        config = PeftConfig.from_pretrained(str(adapter), local_files_only=True)
    except Exception as error:
        raise EngineError(f"{adapter} cannot be merged into the model: {first_line(error)}") from error
    if config.is_prompt_learning:
        raise EngineError(
            f"{adapter} is an adapter of the kind {config.peft_type.value}: it puts learned vectors before each prompt,"
            " which cannot be merged into the weights, and this engine runs merged weights only: tune with one that"
            " changes weights, such as lora"
        )
    return adapter


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


def first_line(error: Exception) -> str:
    """Return what kind of error it is and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def pick_device(name: str) -> str:
    """Return the device to use: `auto` is CUDA, then MPS, then CPU."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available[name]:
        raise EngineError(f"device {name} is not available here: set model.device to auto or cpu")
    return name
