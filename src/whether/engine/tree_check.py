"""Check on a few tokens that a model computes the same over a tree as plainly, before the tree is trusted."""

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from whether.engine import unshared
from whether.engine.attention import NAME, register
from whether.engine.prefix_tree import PrefixTree, Tokens

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
"""Largest total variation distance of two next-token distributions that rounding explains, by precision.

Measured for SmolLM2-135M: 4e-6 and 0.05 when all is right; 0.2 to 0.6 with a wrong mask or wrong positions.
"""

ROOM = 64
"""Tokens of the check's chain and a pass, at most."""


def supports_shared_prefix(model: Any) -> bool:
    """Return whether a model can share prefixes, and set its attention for it; if not, say why in the log."""
    register()
    usual = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    mismatch = _mismatch(model)
    if mismatch:
        logger.warning("shared prefixes are computed again for each request of this model: %s", mismatch)
        model.set_attn_implementation(usual)
    return mismatch is None


def _mismatch(model: Any) -> str | None:
    """Return why the tree cannot be used, or None if it gives the plain path's distributions.

    Compares every position of sequences that branch off one prefix at several depths, computed in several passes,
    and a decoding step of rows of different length.
    """
    import torch

    config = model.config.get_text_config()
    if reason := _long_range_reason(config):
        return reason
    try:
        with torch.inference_mode():
            tree = _sequences(config.vocab_size)
            expected = _plain(model, tree.sequences)
            difference = max(_pass_difference(model, tree, expected), _step_difference(model, tree, expected))
    except Exception as error:  # noqa: BLE001 - a model that does not fit can fail in any way
        return f"{type(error).__name__}: {error}"
    tolerance = TOLERANCE[str(model.dtype).removeprefix("torch.")]
    if not difference <= tolerance:
        return f"its next-token probabilities differ by {difference:.2g}, more than {tolerance:g}"
    return None


def _long_range_reason(config: Any) -> str | None:
    """Return what makes a model's attention differ from the tree's only in texts longer than this check's."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        return f"it has layers of the kinds {sorted(kinds)}"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
    if rope in ("dynamic", "longrope"):
        return f"its {rope} rotary positions depend on the batch's longest sequence"
    return None


def _sequences(vocabulary: int) -> PrefixTree:
    """Return a chain of 8 tokens with branches of 3 to 9 tokens, some of which branch again."""
    token = [(37 * number + 11) % vocabulary for number in range(64)]
    stem = token[:8]
    ends = [token[8:11], token[8:17], token[8:12] + token[30:33], token[20:24], token[20:22] + token[40:47]]
    return PrefixTree([tuple(stem + end) for end in ends])


def _distance(one: "Tensor", other: "Tensor") -> float:
    """Return the largest total variation distance of distributions that logits [N, vocabulary] stand for."""
    return float((one.float().softmax(-1) - other.float().softmax(-1)).abs().sum(-1).max() / 2)


def _plain(model: Any, sequences: Sequence[Tokens]) -> "list[Tensor]":
    """Return the logits [length, vocabulary] of each sequence, computed without the tree."""
    found: dict[int, Tensor] = {}
    for places in unshared.batches([len(tokens) for tokens in sequences], sys.maxsize):
        found |= zip(places, unshared.logits(model, [sequences[place] for place in places], 0), strict=True)
    return [found[place] for place in range(len(sequences))]


def _pass_difference(model: Any, tree: PrefixTree, expected: "Sequence[Tensor]") -> float:
    """Return the largest distance at any position of the sequences, computed in several passes."""
    from whether.engine.caches import PrefixCache

    chain, distances = PrefixCache(model, ROOM), []
    for step in tree.passes(max_nodes=12, max_leaves=4):
        computed = chain.run(step, range(len(step.tokens)))
        for index, path in enumerate(step.paths, step.first):
            there = expected[index][step.cached : step.cached + len(path)]
            distances.append(_distance(computed[list(path)], there))
    return max(distances)


def _step_difference(model: Any, whole: PrefixTree, expected: "Sequence[Tensor]") -> float:
    """Return the largest distance after a decoding step that ends each of the sequences."""
    import torch

    from whether.engine.caches import DecodingBatch, PrefixCache

    last = {tokens[:-1]: (tokens[-1], logits[-1]) for tokens, logits in zip(whole.sequences, expected, strict=True)}
    tree = PrefixTree(list(last))
    rows = len(tree.sequences)
    lengths = [len(tokens) for tokens in tree.sequences]
    decoding, chain = DecodingBatch(model, lengths, tree.common(0, rows), room=1), PrefixCache(model, ROOM)
    (step,) = tree.passes(max_nodes=64, max_leaves=rows)
    chain.run(step, [])
    decoding.fill(chain, 0, step.paths)
    tokens, there = zip(*(last[sequence] for sequence in tree.sequences), strict=True)
    return _distance(decoding.step(torch.tensor(tokens, device=model.device)), torch.stack(there))
