"""The key-value caches of the two ways in which tokens go through a model: passes over a tree, and decoding steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformers.cache_utils import Cache, DynamicLayer

from whether.engine.prefix_tree import Pass, PrefixTree, Tokens, common_prefix
from whether.engine.tree_attention import pass_layout, tree_mask

if TYPE_CHECKING:
    from torch import Tensor

MIN_SHARED_TOKENS = 16
"""Tokens that rows have in common where attention to them is computed by itself: it costs four operations a layer."""


class PreallocatedLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values of B rows in a store with room for a fixed number of tokens."""

    def __init__(self, room: int, filled: int = 0):
        super().__init__()
        self.room = room
        self.filled = filled
        """How many places hold what was computed; the rest is free."""
        self.is_initialized = True

    def allocate(self, rows: int, like: "Tensor") -> None:
        """Make the store, of zeros: keys and values [B, G, room, D] of the kind of `like` [..., G, N, D]."""
        self.keys, self.values = (like.new_zeros(rows, like.shape[-3], self.room, like.shape[-1]) for _ in range(2))

    def update(self, key_states: "Tensor", value_states: "Tensor", *_: Any, **__: Any) -> tuple["Tensor", "Tensor"]:
        """Store the next tokens' keys and values [B, G, N, D] and return all so far [B, G, filled, D]."""
        if self.keys is None:
            self.allocate(key_states.shape[0], key_states)
        start, end = self.filled, self.filled + key_states.shape[-2]
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        self.filled = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def gather(self, places: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Return keys and values [G, *places.shape, D] of a single row at these places."""
        return self.keys[0][:, places], self.values[0][:, places]

    def keep(self, rows: "Tensor") -> None:
        """Drop all rows but these."""
        self.keys, self.values = self.keys[rows], self.values[rows]

    def get_seq_length(self) -> int:
        """Return how many places are filled."""
        return self.filled


class PrefixCache:
    """A model with the keys and values of one chain of tokens, from which passes over a `PrefixTree` branch off."""

    def __init__(self, model: Any, room: int, *, with_layout: bool | None = None):
        """Make room for a chain and the nodes of a pass.

        `with_layout`: whether attention goes by a `PassLayout` or by one mask; None: where there is a kernel for it.
        """
        self.model = model
        self.with_layout = model.device.type == "cpu" if with_layout is None else with_layout
        layers = model.config.get_text_config().num_hidden_layers
        self.layers = [PreallocatedLayer(room) for _ in range(layers)]
        self.tokens: Tokens = ()
        """What the cache holds from its beginning on: the last chain, and the first path of nodes that hung on it."""

    def run(self, step: Pass, wanted: Sequence[int]) -> "Tensor":
        """Put a pass's nodes through the model and return the logits [len(wanted), vocabulary] at the nodes `wanted`.

        Afterwards the cache holds the chain and the nodes, until the next pass cuts it.
        """
        import torch

        device, dtype = self.model.device, self.model.dtype
        for layer in self.layers:
            layer.filled = step.cached
        kept, self.tokens = self.tokens[: step.cached], ()  # nothing, for as long as the pass may fail
        if self.with_layout:
            # A mask of four dimensions keeps transformers from making one of its own; with a layout it is not read.
            options = {"attention_mask": torch.zeros(1, 1, 1, 1, dtype=dtype), "layout": pass_layout(step, dtype)}
        else:
            options = {"attention_mask": tree_mask(step, dtype).to(device)}
        output = self.model(
            input_ids=torch.tensor([step.tokens], device=device),
            position_ids=torch.tensor([step.depths], device=device),
            past_key_values=Cache(layers=self.layers),
            use_cache=True,
            logits_to_keep=torch.tensor(wanted, dtype=torch.long, device=device),
            **options,
        )
        self.tokens = (*kept, *step.tokens[: len(step.paths[0])])
        logits: Tensor = output.logits[0]
        return logits

    def gather(self, places: "Tensor") -> list[tuple["Tensor", "Tensor"]]:
        """Return each layer's keys and values [G, *places.shape, D] at places in the cache."""
        return [layer.gather(places) for layer in self.layers]


class KeptPrefix:
    """The chain of the last call, with which the next one may begin: what a server keeps between requests."""

    def __init__(self) -> None:
        self._chain: PrefixCache | None = None

    def chain(self, model: Any, room: int) -> PrefixCache:
        """Return the last call's chain, or an empty one where it was another model's or has not the room."""
        if self._chain is None or self._chain.model is not model or self._chain.layers[0].room < room:
            # Twice the room, so that requests of somewhat different lengths find it large enough.
            self._chain = PrefixCache(model, 2 * room)
        return self._chain


def chain_for(model: Any, tree: PrefixTree, nodes: int, kept: KeptPrefix | None, end: int) -> tuple[PrefixCache, int]:
    """Return a chain for a tree's sequences and passes of `nodes`, and how many of their tokens it holds already.

    Those are at most `end`: what comes after has to go through the model, since its logits are needed.
    """
    room = max(map(len, tree.sequences), default=0) + nodes
    if kept is None or not tree.sequences:
        return PrefixCache(model, room), 0
    chain = kept.chain(model, room)
    common = min(tree.common(0, len(tree.sequences)), end)
    return chain, common_prefix(chain.tokens, tree.sequences[0][:common])


class DecodingBatch:
    """Rows that generate together: the keys and values of their common prefix once, and their own row by row."""

    def __init__(self, model: Any, lengths: Sequence[int], shared: int, room: int):
        """Prepare for prompts of these lengths, whose first `shared` tokens are equal, and `room` new tokens each."""
        import torch

        self.model = model
        self.shared = shared if len(lengths) > 1 and shared >= MIN_SHARED_TOKENS else 0
        self.prefix: list[tuple[Tensor, Tensor]] = []
        self.own = max(lengths) - self.shared
        self.room = room
        self.layers: list[PreallocatedLayer] = []
        self.positions = torch.tensor(lengths, device=model.device)[:, None]
        places = torch.arange(self.own + room, device=model.device)
        padding = (places >= self.positions - self.shared) & (places < self.own)
        self.mask = torch.zeros(padding.shape, dtype=model.dtype, device=model.device)
        self.mask.masked_fill_(padding, torch.finfo(model.dtype).min)

    def fill(self, chain: PrefixCache, first_row: int, paths: Sequence[Sequence[int]]) -> None:
        """Copy the prompts of consecutive rows from a chain; `paths` are their tokens' places in its cache."""
        import torch

        if not self.layers:
            self.prefix = chain.gather(torch.tensor(paths[0][: self.shared], dtype=torch.long))
            self.layers = [self._layer(keys) for keys, _ in self.prefix]
        width = max(map(len, paths)) - self.shared
        places = torch.zeros(len(paths), width, dtype=torch.long)
        for row, path in enumerate(paths):
            places[row, : len(path) - self.shared] = torch.tensor(path[self.shared :], dtype=torch.long)
        rows = slice(first_row, first_row + len(paths))
        for layer, (keys, values) in zip(self.layers, chain.gather(places), strict=True):
            layer.keys[rows, :, :width] = keys.transpose(0, 1)
            layer.values[rows, :, :width] = values.transpose(0, 1)

    def _layer(self, like: "Tensor") -> PreallocatedLayer:
        layer = PreallocatedLayer(self.own + self.room, self.own)
        layer.allocate(len(self.positions), like)
        return layer

    def step(self, tokens: "Tensor") -> "Tensor":
        """Append one token to each row [B] and return the logits [B, vocabulary] of the next."""
        output = self.model(
            input_ids=tokens[:, None],
            position_ids=self.positions,
            attention_mask=self.mask[:, None, None, : self.layers[0].filled + 1],
            past_key_values=Cache(layers=self.layers),
            use_cache=True,
            shared_prefix=self.prefix,
        )
        self.positions = self.positions + 1
        logits: Tensor = output.logits[:, -1]
        return logits

    def keep(self, rows: "Tensor") -> None:
        """Drop all rows but these."""
        self.positions, self.mask = self.positions[rows], self.mask[rows]
        for layer in self.layers:
            layer.keep(rows)
