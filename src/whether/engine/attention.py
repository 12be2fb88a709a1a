"""Attention over a prefix that all rows of a batch share and over each row's own tokens, without copying the prefix.

While decoding, the keys and values of the shared prompt prefix stay one tensor, read once a step for all rows; only
what differs is held row by row. Scores over both parts go through one softmax, so that the result is that of ordinary
attention up to rounding (the idea of Hydragen, Juravsky et al. 2024, https://arxiv.org/abs/2402.05099).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAME = "shared_prefix"
"""Name of this attention among those of transformers."""


class UnsupportedAttentionError(Exception):
    """The model's attention does something that the tree of tokens cannot express."""


def register() -> None:
    """Make the attention known to transformers under `NAME`. Models that use it behave as with `sdpa` otherwise."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, shared_prefix_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def shared_prefix_attention(  # noqa: PLR0917 - transformers calls it so
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor | None",
    shared_prefix: Sequence[tuple["Tensor", "Tensor"]] | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple["Tensor", None]:
    """Attend with one query a row [B, H, 1, D] to a shared prefix and to the row's own keys [B, G, L, D].

    `shared_prefix` holds for each layer keys and values [G, P, D] (G key-value heads; P may be 0). `attention_mask`
    [B, 1, 1, L] is added to the scores of the row's own keys. Without `shared_prefix` this is transformers' `sdpa`.
    Returns [B, 1, H, D].
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    for option in ("sliding_window", "softcap", "s_aux", "position_bias"):
        if options.get(option) is not None:
            raise UnsupportedAttentionError(f"its attention uses {option}")
    if shared_prefix is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    prefix_key, prefix_value = shared_prefix[module.layer_idx]
    rows, heads, _, size = query.shape
    groups, prefix, _ = prefix_key.shape
    each = heads // groups
    grouped = query.reshape(rows, groups, each, size) * (scaling or size**-0.5)
    own_scores = grouped @ key.transpose(2, 3)
    if attention_mask is not None:
        own_scores = own_scores + attention_mask
    by_group = grouped.transpose(0, 1).reshape(groups, rows * each, size)
    prefix_scores = (by_group @ prefix_key.transpose(1, 2)).view(groups, rows, each, prefix).transpose(0, 1)
    scores = torch.cat([prefix_scores, own_scores], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    by_group = weights[..., :prefix].transpose(0, 1).reshape(groups, rows * each, prefix)
    output = weights[..., prefix:] @ value
    output += (by_group @ prefix_value).view(groups, rows, each, output.shape[-1]).transpose(0, 1)
    return output.reshape(rows, 1, heads, -1), None


def tree_mask(parents: Sequence[int], cached: int, dtype: "torch.dtype") -> "Tensor":
    """Return what is added to the scores of N nodes so that each sees the cached chain, its ancestors and itself.

    Shape [1, 1, N, cached + N]; 0 where a node may look and the lowest number of `dtype` where not.
    """
    import torch

    visible = torch.eye(len(parents), dtype=torch.bool).numpy()
    for node, parent in enumerate(parents):
        if parent >= 0:
            visible[node] |= visible[parent]
    mask = torch.zeros(1, 1, len(parents), cached + len(parents), dtype=dtype)
    mask[0, 0, :, cached:].masked_fill_(~torch.from_numpy(visible), torch.finfo(dtype).min)
    return mask
