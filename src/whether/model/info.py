"""What a machine, a model and a tokenizer report about themselves."""

import os
from typing import Any

from whether.errors import EngineError


def cpu_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def context_window(model: Any) -> int:
    """Return the most tokens of a sequence. Raises EngineError for a model that does not state it."""
    config = model.config.get_text_config()
    window = getattr(config, "max_position_embeddings", None)
    if window is None:
        raise EngineError(f"{config.model_type} models do not state their context window: use one with a fixed length")
    return int(window)


def prefix_token_id(tokenizer: Any) -> int:
    """Return the token that begins a text: bos, or eos where there is none. Raises EngineError without either."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise EngineError(f"the tokenizer in {tokenizer.name_or_path} has neither a bos nor an eos token")


def eos_token_ids(generation_config: Any, tokenizer: Any) -> frozenset[int]:
    """Return what ends an answer by the model's generation config or its tokenizer."""
    configured = generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [*ids, tokenizer.eos_token_id] if token is not None)
