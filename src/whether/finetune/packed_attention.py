"""Attention over a packed sequence in blocks: scores that the mask would hide are mostly not computed.

With a dense mask, attention over a shared prefix of P tokens and N own tokens costs (P + N)². Here the examples are put
into blocks of about W own tokens, and a block's tokens attend to the prefix and to their block: N (P + W), the prefix
by itself P². For an instruction of 65 tokens and 16 short examples that is a third of the scores. Each output is the
same softmax over the same keys, so loss and gradients are those of the dense mask up to rounding. Imports torch: import
it where it is used.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from whether.model.attention import require_plain_attention

NAME = "packed_rows"
"""Name of this attention among those of transformers."""
WIDTH = 64
"""Own tokens of a block, at least: what a matrix product needs to be fast."""

BlockLayout = dict[str, Any]
"""How a packed sequence falls into blocks; a plain dict, as such get to a model's device and through its layers:

- prefix: number of shared tokens, P
- tokens: own token at each place of each block, counted from the end of the prefix; int64 [blocks, W], 0 where is none
- filled: bool [blocks, W], false where is none
- place: place of each own token among the blocks, flat; int64 [own tokens]
- mask: what is added to the scores; [blocks, 1, W, P + W]
"""


def register() -> None:
    """Make the attention known to transformers under `NAME`. Models that use it behave as with `sdpa` otherwise."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def block_layout(lengths: Sequence[int], prefix: int, mask_dtype: torch.dtype) -> BlockLayout:
    """Put examples with so many own tokens each, in the order of the sequence, into blocks behind a prefix."""
    width = min(sum(lengths), max(WIDTH, prefix // 4, *lengths))
    blocks = first_fit(lengths, width)
    tokens = torch.zeros(len(blocks), width, dtype=torch.int64)
    owners = torch.zeros(len(blocks), width, dtype=torch.int64)
    starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
    place = torch.empty(sum(lengths), dtype=torch.int64)
    for block, examples in enumerate(blocks):
        first = 0
        for example in examples:
            end, own = first + lengths[example], slice(starts[example], starts[example + 1])
            tokens[block, first:end] = torch.arange(own.start, own.stop)
            owners[block, first:end] = example + 1
            place[own] = torch.arange(block * width + first, block * width + end)
            first = end
    hidden = ~(owners[:, :, None] == owners[:, None, :]).tril()
    mask = torch.zeros(len(blocks), 1, width, prefix + width, dtype=mask_dtype)
    mask[..., prefix:].masked_fill_(hidden[:, None], torch.finfo(mask_dtype).min)
    return {"prefix": prefix, "tokens": tokens, "filled": owners > 0, "place": place, "mask": mask}


def first_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Return the examples of each block, by number: the longest first, each into the first block with room for it."""
    blocks, room = list[list[int]](), list[int]()
    for example in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        block = next((index for index, free in enumerate(room) if free >= lengths[example]), len(blocks))
        if block == len(blocks):
            blocks.append([])
            room.append(width)
        blocks[block].append(example)
        room[block] -= lengths[example]
    return blocks


def packed_attention(  # noqa: PLR0917 - transformers calls it so
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed_layout: BlockLayout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend with queries [1, H, P + N, D] to keys [1, G, past + P + N, D], and return [1, P + N, H, D].

    All queries see the `past`, which a learned prefix may put before the keys. Without a layout this is transformers'
    `sdpa` with the mask. Raises UnsupportedAttentionError for attention that is not plain softmax attention.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if packed_layout is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    require_plain_attention(options)
    return blocked_attention(query, key, value, packed_layout, scale=scaling, dropout_p=dropout), None


def blocked_attention(query: Tensor, key: Tensor, value: Tensor, layout: BlockLayout, **options: Any) -> Tensor:
    """Attend as `packed_attention` says; `options` are those of `scaled_dot_product_attention`."""
    prefix = layout["prefix"]
    shared = key.shape[2] - query.shape[2] + prefix
    own = _attend_in_blocks(query[0, :, prefix:], key[0], value[0], shared, layout, **options)
    if prefix == 0:
        return own[None]
    before = _attend_causally(query[:, :, :prefix], key[:, :, :shared], value[:, :, :shared], options)
    return torch.cat([before, own[None]], dim=1)


def _attend_causally(query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> Tensor:
    """Attend with [1, H, P, D] to [1, G, past + P, D], each query to the past and up to itself: [1, P, H, D]."""
    length, keys = query.shape[2], key.shape[2]
    each = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(each, dim=1) for part in (key, value))
    if length == keys:
        return scaled_dot_product_attention(query, key, value, is_causal=True, **options).transpose(1, 2)
    sees = torch.ones(length, keys, dtype=torch.bool, device=query.device).tril(keys - length)
    return scaled_dot_product_attention(query, key, value, attn_mask=sees, **options).transpose(1, 2)


def _attend_in_blocks(
    query: Tensor, key: Tensor, value: Tensor, shared: int, layout: BlockLayout, **options: Any
) -> Tensor:
    """Attend with own tokens [H, N, D] to the `shared` first keys and the blocks' own, [G, shared + N, D]: [N, H, D].

    The H / G heads that share keys stand as further queries of one head, so keys are not repeated for them.
    """
    heads, _, size = query.shape
    groups = key.shape[0]
    tokens, filled = layout["tokens"], layout["filled"]
    count, width = tokens.shape
    to_heads, from_heads = _places(layout, heads)
    to_groups, from_groups = _places(layout, groups)
    queries = _pick(_rows(query), to_heads, from_heads, None).view(count, groups, -1, size)
    keys, values = (
        torch.cat(
            [
                part[None, :, :shared].expand(count, -1, -1, -1),
                _pick(_rows(part[:, shared:]), to_groups, from_groups, None).view(count, groups, width, size),
            ],
            dim=2,
        )
        for part in (key, value)
    )
    mask = pad(layout["mask"], (shared - layout["prefix"], 0)).repeat(1, 1, heads // groups, 1)
    by_products = query.device.type == "cpu" and query.dtype != torch.float32 and not options.get("dropout_p")
    attention = _attend_by_products if by_products else scaled_dot_product_attention
    output = attention(queries, keys, values, attn_mask=mask, **options)
    is_token = filled[:, None].expand(-1, heads, -1).reshape(-1, 1)
    return _pick(output.reshape(-1, size), from_heads, to_heads, is_token).view(-1, heads, size)


def _attend_by_products(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    attn_mask: Tensor,
    scale: float | None = None,
    **options: Any,  # noqa: ARG001
) -> Tensor:
    """Attend as `scaled_dot_product_attention`, with the products of matrices themselves and the weights rounded.

    In half precision a processor does these products at twice the rate of float32, in which torch's kernel does them:
    forwards and backwards together take under half the time.
    """
    scores = (query * (scale or query.shape[-1] ** -0.5)) @ key.transpose(2, 3) + attn_mask
    return scores.softmax(dim=-1) @ value


def _rows(part: Tensor) -> Tensor:
    """Return [heads, N, D] as [N * heads, D]: how projections lie in memory, so that nothing is copied."""
    return part.transpose(0, 1).reshape(-1, part.shape[-1])


def _places(layout: BlockLayout, heads: int) -> tuple[Tensor, Tensor]:
    """Return which row of [N, heads] is at each place of [blocks, heads, W], and the place of each row."""
    tokens, place = layout["tokens"], layout["place"]
    width = tokens.shape[1]
    head = torch.arange(heads, device=tokens.device)
    rows = tokens[:, None] * heads + head[:, None]
    places = (place // width * heads)[:, None] * width + head * width + (place % width)[:, None]
    return rows.flatten(), places.flatten()


def _pick(rows: Tensor, index: Tensor, inverse: Tensor, is_row: Tensor | None) -> Tensor:
    picked: Tensor = _Pick.apply(rows, index, inverse, is_row)  # type: ignore[no-untyped-call]
    return picked


class _Pick(torch.autograd.Function):
    """Rows of a matrix by number; the gradient is picked the same way, by the inverse.

    autograd's own gradient of `index_select` adds row by row, many times slower. `is_row` says, [rows, 1], which rows
    of the input were picked; None: all were, and the output may hold further rows that have no gradient.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor, is_row: Tensor | None) -> Tensor:
        """Return the rows [len(index), D]."""
        ctx.save_for_backward(inverse, is_row)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of `rows`."""
        inverse, is_row = ctx.saved_tensors
        picked = gradient.index_select(0, inverse)
        return picked if is_row is None else picked * is_row, None, None, None
