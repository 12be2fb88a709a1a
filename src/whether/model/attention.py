"""Attention that is more than softmax of scaled products, which no layout of ours can express."""

from collections.abc import Mapping
from typing import Any


class UnsupportedAttentionError(ValueError):
    """The model's attention does something that tokens of several sequences in one row cannot express."""


def require_plain_attention(options: Mapping[str, Any]) -> None:
    """Raise UnsupportedAttentionError for options of an attention that is not plain softmax attention."""
    for option in ("sliding_window", "softcap", "s_aux", "position_bias"):
        if options.get(option) is not None:
            raise UnsupportedAttentionError(f"its attention uses {option}")
