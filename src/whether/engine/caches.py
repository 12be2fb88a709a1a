"""The key-value caches of the two ways in which tokens go through a model: passes over a tree, and decoding steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from whether.engine.attention import tree_mask
from whether.engine.prefix_tree import Pass

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Chain:
    """A model with the keys and values of one chain of tokens, from which passes over a `PrefixTree` branch off."""

    def __init__(self, model: Any):
        self.model = model
        self.cache = DynamicCache()

    def run(self, step: Pass, wanted: Sequence[int]) -> "Tensor":
        """Put a pass's nodes through the model and return the logits [len(wanted), vocabulary] at the nodes `wanted`.

        Afterwards the cache holds the chain and the nodes, until the next pass cuts it.
        """
        import torch

        device = self.model.device
        self.cache.crop(step.cached - self.cache.get_seq_length())
        mask = tree_mask(step.parents, step.cached, self.model.dtype).to(device)
        output = self.model(
            input_ids=torch.tensor([step.tokens], device=device),
            position_ids=torch.tensor([step.depths], device=device),
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=torch.tensor(wanted, dtype=torch.long, device=device),
        )
        logits: Tensor = output.logits[0]
        return logits

    def gather(self, positions: "Tensor") -> list[tuple["Tensor", "Tensor"]]:
        """Return each layer's keys and values [G, *positions.shape, D] at cache positions."""
        return [(layer.keys[0, :, positions], layer.values[0, :, positions]) for layer in self.cache.layers]


class RowLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values of a batch of rows, with room allocated for those to come."""

    def __init__(self, shape: Sequence[int], dtype: "torch.dtype", device: "torch.device"):
        import torch

        super().__init__()
        self.keys = torch.zeros(*shape, dtype=dtype, device=device)
        self.values = torch.zeros(*shape, dtype=dtype, device=device)
        self.is_initialized = True
        self.filled = 0

    def update(self, key_states: "Tensor", value_states: "Tensor", *_: Any, **__: Any) -> tuple["Tensor", "Tensor"]:
        """Store the next token's keys and values and return all so far [B, G, filled, D]."""
        end = self.filled + key_states.shape[-2]
        self.keys[:, :, self.filled : end] = key_states
        self.values[:, :, self.filled : end] = value_states
        self.filled = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Return how many places are filled."""
        return self.filled


class DecodingBatch:
    """Rows that generate together: the keys and values of their common prefix once, and their own row by row."""

    def __init__(self, model: Any, lengths: Sequence[int], shared: int, room: int):
        """Prepare for prompts of these lengths, whose first `shared` tokens are equal, and `room` new tokens each."""
        import torch

        self.model = model
        self.shared = shared
        self.prefix: list[tuple[Tensor, Tensor]] = []
        self.own = max(lengths) - shared
        self.room = room
        self.layers: list[RowLayer] = []
        self.positions = torch.tensor(lengths, device=model.device)[:, None]
        places = torch.arange(self.own + room, device=model.device)
        padding = (places >= self.positions - shared) & (places < self.own)
        self.mask = torch.zeros(padding.shape, dtype=model.dtype, device=model.device)
        self.mask.masked_fill_(padding, torch.finfo(model.dtype).min)

    def fill(self, chain: Chain, first_row: int, paths: Sequence[Sequence[int]]) -> None:
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

    def _layer(self, like: "Tensor") -> RowLayer:
        groups, _, size = like.shape
        layer = RowLayer((len(self.positions), groups, self.own + self.room, size), like.dtype, like.device)
        layer.filled = self.own
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
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
