"""Learned keys and values before every prompt: what prompt tuning and prefix tuning leave, as this engine runs it.

peft's prompt tuning learns embeddings of virtual tokens and its prefix tuning their keys and values in each layer. Both
come to the same: keys and values of V positions that every sequence begins with. A sequence gets V placeholder tokens
before it, which share a prefix as any tokens do; what the model computes as their keys and values is replaced by the
learned ones. So nothing else has to know of them. Imports torch and transformers: import it where it is used.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from whether.errors import EngineError

KeysValues = list[tuple[Tensor, Tensor]]
"""For each layer, keys and values [1, G, V, D] of V positions."""

PLACEHOLDER = 0
"""Token id that stands for a virtual token; any would do."""


def learned_keys_values(peft_model: Any) -> KeysValues:
    """Return the keys and values that a peft model of prompt learning puts before a sequence, with their gradients.

    Raises EngineError for a kind of prompt learning whose virtual tokens depend on the prompt.
    """
    kind = peft_model.active_peft_config.peft_type.value
    if kind not in ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"):
        raise EngineError(
            f"adapters of the kind {kind} cannot be run: they have no virtual tokens that are always the same"
        )
    learned = peft_model.get_prompt(batch_size=1)
    if isinstance(learned, Cache):
        cache = learned
    else:
        base = peft_model.get_base_model()
        cache = DynamicCache()
        base(inputs_embeds=learned.to(base.dtype), past_key_values=cache, use_cache=True, logits_to_keep=1)
    return [(layer.keys, layer.values) for layer in cache.layers]


def prepend_keys_values(model: Any, keys_values: KeysValues) -> None:
    """Make a model give its first V positions these keys and values, whatever tokens stand there."""
    count = keys_values[0][0].shape[-2]

    def replace_cache(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:  # noqa: ARG001
        cache = kwargs.get("past_key_values")
        if cache is None:
            cache = DynamicCache(config=model.config)
        positions = kwargs.get("position_ids")
        start = cache.get_seq_length() if positions is None else int(positions[0, 0])
        if start < count and not isinstance(cache, _OverwritingCache):
            cache = _OverwritingCache(cache, keys_values)
        return args, kwargs | {"past_key_values": cache}

    model.register_forward_pre_hook(replace_cache, with_kwargs=True)


class _OverwritingCache(Cache):  # type: ignore[misc]
    """A cache, the same layers, in which the first positions get given keys and values."""

    def __init__(self, cache: Cache, keys_values: KeysValues):
        self.__dict__.update(cache.__dict__)
        self.given = keys_values

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store the next tokens' keys and values [B, G, N, D], the given ones for the first positions."""
        start = self.get_seq_length(layer_idx)
        keys, values = (
            _overwritten(states, given, start)
            for states, given in zip((key_states, value_states), self.given[layer_idx], strict=True)
        )
        stored: tuple[Tensor, Tensor] = super().update(keys, values, layer_idx, *args, **kwargs)
        return stored


def _overwritten(states: Tensor, given: Tensor, start: int) -> Tensor:
    """Return states [B, G, N, D] from position `start` on with those of `given` [1, G, V, D] where there are any."""
    first = given[:, :, start : start + states.shape[-2]]
    if not first.shape[-2]:
        return states
    return torch.cat([first.expand(len(states), -1, -1, -1), states[:, :, first.shape[-2] :]], dim=-2)
