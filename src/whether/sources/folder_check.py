"""Is a folder a model that this project can ask and tune? Found out once, before anything is built on it.

Cheaply: files and headers first, then the architecture without its weights, the tokenizer, the chat template, and last
all numbers, read once in pieces. Each fault is one error that names the file and what to do. No code of it is run.
"""

import logging
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from whether.errors import EngineError, SourceError
from whether.model.info import context_window
from whether.model.tokens import merges_system
from whether.sources.model_files import indexed, read_settings, require_model, require_whole_files, weight_files
from whether.sources.tokenizer_check import check_tokenizer
from whether.sources.weights import Tensor, read_header, require_finite

logger = logging.getLogger(__name__)

_WRITERS = ("CausalLM", "LMHead", "ConditionalGeneration")
"""Parts of the names of classes that write text."""
_SHOWN = 3
_NUMBERS = re.compile(r"\d+")
"""The number of a layer in the name of a tensor."""


class ModelFacts(NamedTuple):
    """What a check found out about a folder that passed."""

    weights: list[Path]
    """The files that hold its weights; others of their kind are not part of the model."""
    parameters: int
    """Number of parameters, tied weights once."""
    system_role: Literal["own", "merged"]
    """Whether the chat template has a system role, or system texts begin the user's turns."""


def check_model_folder(folder: Path, what: str) -> ModelFacts:
    """Check a model folder; `what` is its source as messages name it. Raises SourceError for the first fault."""
    require_model(folder, what)
    require_whole_files(folder, what)
    weights = weight_files(folder, what)
    tensors = [tensor for file in weights for tensor in _tensors(folder, file, what)]
    _check_config(folder, what)
    model = _load_without_weights(folder, what)
    _check_numbers(model, tensors, what)
    tokenizer = check_tokenizer(folder, model, what)
    require_finite(tensors, what)
    merged = merges_system(tokenizer)
    if merged:
        logger.info("model %s: its chat template has no system role: system texts begin the user's turn", what)
    return ModelFacts(weights, sum(tensor.size for tensor in tensors), "merged" if merged else "own")


def _tensors(folder: Path, file: Path, what: str) -> list[Tensor]:
    held = read_header(file, what)
    lacking = sorted(indexed(folder, file, what) - {tensor.name for tensor in held})
    if lacking:
        raise SourceError(
            f"model {what}: {file.name} lacks {len(lacking)} tensors that the index says are in it, such as"
            f" {lacking[0]}: the files are of different versions; download the model again"
        )
    return held


def _check_config(folder: Path, what: str) -> None:
    """Raise SourceError for a config.json of weights that cannot be used, or of a model that does not write text."""
    values = read_settings(folder / "config.json", what)
    if not isinstance(values, dict):
        raise SourceError(f"model {what}: config.json is not an object of settings: take the file again")
    quantised = values.get("quantization_config") or values.get("compression_config")
    if quantised:
        method = quantised.get("quant_method", "unknown method") if isinstance(quantised, dict) else quantised
        raise SourceError(
            f"model {what}: config.json says that the weights are quantised ({method}), and tuning and answering need"
            " plain numbers: take the repository that is not quantised; if the weights are plain numbers already,"
            " remove quantization_config from config.json"
        )
    architectures = [str(name) for name in values.get("architectures") or []]
    writes = any(part in name for name in architectures for part in _WRITERS)
    if values.get("is_encoder_decoder") or (architectures and not writes):
        raise SourceError(
            f"model {what}: config.json names {', '.join(architectures) or 'an encoder with a decoder'}, which does not"
            " continue a text: choose a causal language model (…ForCausalLM) that is tuned for chat"
        )


def _load_without_weights(folder: Path, what: str) -> Any:
    """Return the model with its shapes and names and no numbers, as the weights' headers fit it."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    code = "auto_map" in read_settings(folder / "config.json", what)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, device_map={"": "meta"}, local_files_only=True, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True, ignore_mismatched_sizes=True,  # told below, by name and shapes
        )  # fmt: skip
    except Exception as error:
        raise SourceError(_unloadable(folder, what, error, code)) from error
    _require_fit(model, report, what)
    unknown = sorted(report["unexpected_keys"])
    if unknown and code:
        raise SourceError(_needs_code(folder, what, f"the weights hold tensors such as {unknown[0]}"))
    if unknown:
        logger.warning(
            "model %s: %d tensors of the weights are not used, such as %s: config.json describes no such layers",
            what, len(unknown), unknown[0],
        )  # fmt: skip
    if code:
        logger.info("model %s: its own code (auto_map) is not run; transformers knows the architecture", what)
    _require_window(model, what)
    return model


def _require_fit(model: Any, report: Any, what: str) -> None:
    """Raise SourceError where the weights are not those of the model that config.json describes."""
    together = "take config.json and weights from one repository"
    missing = sorted(report["missing_keys"])
    if report["mismatched_keys"]:
        name, held, described = sorted(report["mismatched_keys"])[0]
        raise SourceError(
            f"model {what}: {name} of the weights has the shape {list(held)}, and config.json describes"
            f" {list(described)}: {together}"
        )
    if missing:
        raise SourceError(
            f"model {what}: the weights lack {len(missing)} tensors that config.json describes, such as {missing[0]}:"
            f" {together} (an output head that shares the input embeddings needs tie_word_embeddings: true)"
        )
    known = {_NUMBERS.sub("0", name) for name, _ in model.named_parameters()}
    further = sorted(name for name in report["unexpected_keys"] if _NUMBERS.sub("0", name) in known)
    if further:
        raise SourceError(
            f"model {what}: the weights hold {len(further)} tensors of further layers, such as {further[0]}, and"
            f" config.json describes fewer: {together}"
        )


def _check_numbers(model: Any, tensors: list[Tensor], what: str) -> None:
    """Raise SourceError for whole numbers in the place of weights: scales that they need would be lost in silence."""
    parameters = {name for name, _ in model.named_parameters()}
    whole = [tensor for tensor in tensors if tensor.dtype[0] in "IUB" and tensor.dtype != "BF16"]
    quantised = next((tensor for tensor in whole if tensor.name in parameters), None)
    if quantised:
        raise SourceError(
            f"model {what}: {quantised.file.name}: {quantised.name} holds whole numbers ({quantised.dtype}), as"
            " quantised weights do, and tuning and answering need plain ones: take the repository that is not quantised"
        )


def _require_window(model: Any, what: str) -> None:
    try:
        context_window(model)
    except EngineError as error:
        raise SourceError(f"model {what}: config.json: {error}") from None


def _unloadable(folder: Path, what: str, error: Exception, code: bool) -> str:
    import transformers

    reason = str(error).strip().replace(str(folder), what) or repr(error)
    if code and "trust_remote_code" in reason:
        return _needs_code(folder, what, f"transformers {transformers.__version__} does not know its architecture")
    reason = "; ".join(line.strip() for line in reason.splitlines()[:_SHOWN] if line.strip())
    return (
        f"model {what}: config.json and the weights cannot be loaded by transformers {transformers.__version__}:"
        f" {reason}"
    )


def _needs_code(folder: Path, what: str, reason: str) -> str:
    kind = read_settings(folder / "config.json", what).get("model_type")
    return (
        f"model {what}: config.json asks for code of the folder to be run (auto_map, model_type {kind!r}): {reason}."
        " Code of a model folder is never run: choose a version of the model for transformers itself, or a newer"
        " transformers that has this architecture"
    )
