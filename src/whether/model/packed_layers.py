"""A frozen model's layers on a CPU: weights laid out once for its products, and few passes over activations.

torch's own product of float32 goes to MKL, which reaches a third to a half of what an AMD processor can do. oneDNN,
which torch ships too, does nearly all of it with weights that were laid out beforehand. Results are those of the plain
layers up to rounding. Imports torch and transformers: import it where it is used.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.functional import linear, rms_norm
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

logger = logging.getLogger(__name__)

FUSED = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")
"""Layers of transformers whose forward pass is `fused_forward`."""
SMALLEST = 2**16
"""Weights that a linear layer needs for packing to pay."""
SLOWER = 1.1
"""Packing is left out where its products take more than this many times the plain ones' time. On x86 they take 0.3 to
1.0 of it, so every run on a machine decides alike."""
ROUNDS = 15
"""Times that both products are measured in turn."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""Total variation distance of two next-token distributions that rounding explains: in float32 the largest, in bfloat16
the mean over positions. Single ones are 0.24 apart for a LoRA checkpoint of SmolLM2-135M in bfloat16: it is sure of its
next token, and rounding can change which one. Other weights differ at every position."""


class PackedWeight:
    """Frozen weights of linear layers with the same inputs, one below the other, in oneDNN's layout for products.

    Copies of a model share it.
    """

    def __init__(self, weights: Sequence[Tensor], bias: Tensor | None = None):
        self._rows = [len(weight) for weight in weights]
        weight = torch.cat([*weights]).detach() if len(weights) > 1 else weights[0].detach()
        self._layout = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self._bias = bias

    @classmethod
    def of(cls, layers: Sequence[nn.Linear]) -> "PackedWeight":
        """Pack linear layers: all have a bias, or none."""
        biases = [one.bias.detach() for one in layers if one.bias is not None]
        return cls([one.weight for one in layers], torch.cat(biases) if biases else None)

    def __deepcopy__(self, _: dict[int, Any]) -> "PackedWeight":
        return self

    def linear(self, inputs: Tensor, activation: str = "none") -> Tensor:
        """Return the outputs [..., O] of inputs [..., I]; `activation` is oneDNN's name of one."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._layout, self._bias, activation, [], "")
        return result

    def combined(self, operation: str, other: Tensor, inputs: Tensor) -> Tensor:
        """Return `other` [..., O] with the outputs [..., O] of inputs [..., I] added (`add`) or multiplied (`mul`)."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(inputs, other, self._layout, self._bias, operation)
        return result

    def dense(self) -> list[Tensor]:
        """Return each layer's weight as it was."""
        return list(self._layout.to_dense().split(self._rows))


class Packs:
    """What is packed already, by the plain weights that it was made of."""

    def __init__(self) -> None:
        self._found: dict[tuple[tuple[int, int], ...], tuple[list[StorageWeakRef], PackedWeight]] = {}

    def add(self, layers: Sequence[nn.Linear], packed: PackedWeight) -> None:
        """Remember what layers were packed to.

        Their weights are not kept. What is kept, so that it names no other one, is the number of their storage: weights
        that come later may stand where these stood.
        """
        storages = [StorageWeakRef(layer.weight.untyped_storage()) for layer in layers]  # type: ignore[no-untyped-call]
        self._found[self._key(layers)] = storages, packed

    def get(self, layers: Sequence[nn.Linear]) -> PackedWeight | None:
        """Return what these very weights were packed to; None where they are others."""
        found = self._found.get(self._key(layers))
        return found[1] if found else None

    @staticmethod
    def _key(layers: Sequence[nn.Linear]) -> tuple[tuple[int, int], ...]:
        weights = [layer.weight for layer in layers]
        return tuple((weight.untyped_storage()._cdata, weight.data_ptr()) for weight in weights)


class PackedLinear(nn.Linear):
    """A linear layer whose weight is packed."""

    packed: PackedWeight

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs [..., O] of inputs [..., I]."""
        return self.packed.linear(inputs)


class PackedDecoderLayer(NamedTuple):
    """The weights of a decoder layer of `FUSED`."""

    query_key_value: PackedWeight
    output: PackedWeight
    gate: PackedWeight
    up: PackedWeight
    down: PackedWeight

    @staticmethod
    def layers(module: Any) -> list[list[nn.Linear]]:
        """Return the linear layers of a decoder layer that each of the weights is made of."""
        attention, mlp = module.self_attn, module.mlp
        together = [attention.q_proj, attention.k_proj, attention.v_proj]
        return [together, [attention.o_proj], [mlp.gate_proj], [mlp.up_proj], [mlp.down_proj]]


def pack_layers(model: Any, packs: Packs) -> None:
    """Pack a frozen model's linear layers on a CPU, where that is not slower, and drop the plain weights.

    Other models that share these weights keep theirs. What is in `packs` is not packed again, and what is packed is
    added. The model is left as it is where its outputs would not be the same.
    """
    if model.device.type != "cpu" or not packing_pays(model.dtype):
        return
    with torch.inference_mode():
        expected = _probabilities(model)
        for module in list(model.modules()):
            if type(module).__name__ in FUSED and _is_plain(module):
                parts = PackedDecoderLayer.layers(module)
                module.packed = PackedDecoderLayer(*(_packed(packs, part) for part in parts))
                module.__class__ = _fused_class(type(module))  # type: ignore[arg-type]
        for module in _own_linear_layers(model):
            packed: Any = _packed(packs, [module])
            module.packed = packed
            module.__class__ = PackedLinear
        distances = (_probabilities(model) - expected).abs().sum(-1) / 2
        difference = float(distances.max() if model.dtype == torch.float32 else distances.mean())
    if not difference <= TOLERANCE[model.dtype]:
        logger.warning("weights are used unpacked: packed, next-token probabilities differ by %.2g", difference)
        _restore_classes(model)
        return
    _drop_weights(model)


def unpack_layers(model: Any) -> Packs:
    """Give a model plain layers and weights again; return what is packed, by where it stands now."""
    packs = Packs()
    for parts, packed in _packed_parts(model):
        for layer, weight in zip(parts, packed.dense(), strict=True):
            if not layer.weight.numel():
                layer.weight = nn.Parameter(weight, requires_grad=False)
        packs.add(parts, packed)
    _restore_classes(model)
    return packs


def packing_pays(dtype: torch.dtype) -> bool:
    """Return whether packed products of a precision are to be used on this processor."""
    if dtype not in TOLERANCE or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return packed_share(dtype, torch.get_num_threads()) <= SLOWER


@cache
def packed_share(dtype: torch.dtype, threads: int) -> float:  # noqa: ARG001 - what is measured depends on it
    """Return how much of the plain product's time a packed one takes, each at its best: other work only adds time.

    Measured once a process, in some 20 ms.
    """
    layer = nn.Linear(576, 1536, bias=False, dtype=dtype)
    inputs = torch.randn(256, 576, dtype=dtype)
    with torch.inference_mode():
        packed = PackedWeight.of([layer])
        calls = (lambda: packed.linear(inputs)), (lambda: linear(inputs, layer.weight))
        times = [[_seconds(call) for call in calls] for _ in range(ROUNDS)]
    return min(one for one, _ in times) / min(other for _, other in times)


def fused_forward(  # noqa: PLR0917 - transformers calls it so
    self: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,  # noqa: ARG001 - transformers' signature
    past_key_values: Any = None,
    use_cache: bool | None = False,  # noqa: ARG001
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    **options: Any,
) -> Tensor:
    """Return a decoder layer's outputs [B, N, hidden] for its inputs, as the layer's own forward pass does."""
    attention = self.self_attn
    packed: PackedDecoderLayer = self.packed
    batch, length, _ = hidden_states.shape
    size = attention.head_dim

    # 1. Queries, keys and values in one product; queries and keys rotated together, as they lie there.
    states = _norm(self.input_layernorm, hidden_states)
    by_head = packed.query_key_value.linear(states).view(batch, length, -1, size)
    groups = attention.k_proj.out_features // size
    rotating, value = by_head[:, :, :-groups], by_head[:, :, -groups:].transpose(1, 2)
    if hasattr(attention, "q_norm"):
        parts = rotating[:, :, :-groups], rotating[:, :, -groups:]
        rotating = torch.cat([_norm(attention.q_norm, parts[0]), _norm(attention.k_norm, parts[1])], dim=2)
    assert position_embeddings is not None, "transformers gives them to every layer"
    rotated = _rotated(rotating, *position_embeddings)
    query, key = rotated[:, :, :-groups].transpose(1, 2), rotated[:, :, -groups:].transpose(1, 2)

    # 2. Attention, by the function that the model is set to.
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, attention.layer_idx)
    attend = ALL_ATTENTION_FUNCTIONS[attention.config._attn_implementation]
    window = getattr(attention, "sliding_window", None)
    options |= {} if window is None else {"sliding_window": window}
    attended, _ = attend(
        attention, query, key, value, attention_mask, dropout=0.0, scaling=attention.scaling, **options
    )

    # 3. SwiGLU; sums and products with what is there already are part of the matrix products.
    hidden_states = packed.output.combined("add", hidden_states, attended.reshape(batch, length, -1))
    states = _norm(self.post_attention_layernorm, hidden_states)
    inner = packed.up.combined("mul", packed.gate.linear(states, "swish"), states)
    return packed.down.combined("add", hidden_states, inner)


def _norm(module: Any, states: Tensor) -> Tensor:
    result: Tensor = rms_norm(states, tuple(module.weight.shape), module.weight, module.variance_epsilon)
    return result


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return states [B, N, H, D] with rotary positions, whose cosines and sines are [B, N, D]."""
    half = states.shape[-1] // 2
    cos, sin = cos[:, :, None], sin[:, :, None]
    result = states * cos
    result[..., :half].addcmul_(states[..., half:], sin[..., :half], value=-1)
    result[..., half:].addcmul_(states[..., :half], sin[..., half:])
    return result


def _is_plain(module: Any) -> bool:
    """Return whether a decoder layer is as its class makes it, large enough, and uses SiLU."""
    parts = [layer for part in PackedDecoderLayer.layers(module) for layer in part]
    plain = all(type(layer) is nn.Linear for layer in parts)
    biased = {layer.bias is None for layer in parts[:3]}
    silu = type(module.mlp.act_fn).__name__ in ("SiLUActivation", "SiLU")
    return plain and len(biased) == 1 and silu and module.mlp.gate_proj.weight.numel() >= SMALLEST


@cache
def _fused_class(plain: type) -> type:
    return type(f"Fused{plain.__name__}", (plain,), {"forward": fused_forward})


def _packed(packs: Packs, layers: list[nn.Linear]) -> PackedWeight:
    packed = packs.get(layers)
    if packed is None:
        packed = PackedWeight.of(layers)
        packs.add(layers, packed)
    return packed


def _own_linear_layers(model: Any) -> list[nn.Linear]:
    """Return the plain linear layers that pay and are not part of a fused layer."""
    fused = {
        id(layer)
        for module in model.modules()
        if isinstance(getattr(module, "packed", None), PackedDecoderLayer)
        for part in PackedDecoderLayer.layers(module)
        for layer in part
    }
    return [
        module
        for module in model.modules()
        if type(module) is nn.Linear and id(module) not in fused and module.weight.numel() >= SMALLEST
    ]


def _packed_parts(model: Any) -> Iterator[tuple[list[nn.Linear], PackedWeight]]:
    """Yield linear layers with their packed weights."""
    for module in model.modules():
        packed = getattr(module, "packed", None)
        if isinstance(packed, PackedDecoderLayer):
            yield from zip(PackedDecoderLayer.layers(module), packed, strict=True)
        elif isinstance(packed, PackedWeight):
            yield [module], packed


def _drop_weights(model: Any) -> None:
    """Drop the plain weights of packed layers, but for one that embeddings share."""
    shared = model.get_input_embeddings().weight
    for parts, _ in list(_packed_parts(model)):
        for layer in parts:
            if layer.weight is not shared:
                layer.weight = nn.Parameter(layer.weight.new_empty(0), requires_grad=False)


def _restore_classes(model: Any) -> None:
    for module in list(model.modules()):
        packed = getattr(module, "packed", None)
        if isinstance(packed, PackedDecoderLayer):
            module.__class__ = type(module).__mro__[1]
        elif isinstance(packed, PackedWeight):
            module.__class__ = nn.Linear
        else:
            continue
        del module.packed


def _probabilities(model: Any) -> Tensor:
    """Return the next-token probabilities [N, vocabulary] of a few tokens."""
    vocabulary = model.config.get_text_config().vocab_size
    tokens = torch.tensor([[(37 * number + 11) % vocabulary for number in range(24)]])
    result: Tensor = model(input_ids=tokens, use_cache=False).logits[0].float().softmax(-1)
    return result


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
