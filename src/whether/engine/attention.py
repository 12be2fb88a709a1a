"""Attention in which what many tokens share is read once: over a tree of tokens, and while decoding rows.

Both are ordinary attention up to rounding. Keys fall into a part that all queries see and parts that only some see;
each is attended to by itself, and the results are joined by their log-sum-exps or go through one softmax (the idea of
Hydragen, Juravsky et al. 2024, https://arxiv.org/abs/2402.05099). So scores that a mask would hide are not computed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from whether.engine.tree_attention import PassLayout, flash
from whether.model.attention import require_plain_attention

if TYPE_CHECKING:
    from torch import Tensor

NAME = "shared_prefix"
"""Name of this attention among those of transformers."""


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
    layout: PassLayout | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple["Tensor", None]:
    """Attend with queries [B, H, N, D] to keys [B, G, L, D] of G key-value heads, and return [B, N, H, D].

    With the `layout` of a pass, over its tree; with `shared_prefix`, which holds keys and values [G, P, D] for each
    layer, as in `attend_by_row`; otherwise this is transformers' `sdpa` with the mask [B, 1, N, L].
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    require_plain_attention(options)
    if layout is not None:
        return layout.attend(query, key, value, scaling), None
    if shared_prefix is not None:
        return attend_by_row(query, key, value, attention_mask, shared_prefix[module.layer_idx], scaling=scaling), None
    return sdpa_attention_forward(  # type: ignore[no-any-return]
        module, query, key, value, attention_mask, scaling=scaling, **options
    )


def attend_by_row(
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor | None",
    prefix: tuple["Tensor", "Tensor"],
    *,
    scaling: float | None,
) -> "Tensor":
    """Attend with one query a row [B, H, 1, D] to a prefix [G, P, D] and to the row's own keys [B, G, L, D].

    P may be 0. The mask [B, 1, 1, L] is added to the scores of the row's own keys. Returns [B, 1, H, D].
    """
    import torch

    prefix_key, prefix_value = prefix
    rows, heads, _, size = query.shape
    groups, length, _ = prefix_key.shape
    each = heads // groups
    grouped = query.reshape(rows, groups, each, size)
    if rows == 1 and not length and query.device.type == "cpu":
        output = flash(grouped, key, value, scale=scaling, attn_mask=attention_mask).output
        return output.reshape(1, 1, heads, -1)
    grouped = grouped * (scaling or size**-0.5)
    scores = grouped @ key.transpose(2, 3)
    if attention_mask is not None:
        scores = scores + attention_mask
    if not length:
        output = scores.softmax(-1, dtype=torch.float32).to(query.dtype) @ value
        return output.reshape(rows, 1, heads, -1)
    by_group = grouped.transpose(0, 1).reshape(groups, rows * each, size)
    prefix_scores = (by_group @ prefix_key.transpose(1, 2)).view(groups, rows, each, length).transpose(0, 1)
    scores = torch.cat([prefix_scores, scores], dim=-1)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    by_group = weights[..., :length].transpose(0, 1).reshape(groups, rows * each, length)
    output = weights[..., length:] @ value
    output += (by_group @ prefix_value).view(groups, rows, each, output.shape[-1]).transpose(0, 1)
    return output.reshape(rows, 1, heads, -1)
