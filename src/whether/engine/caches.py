"""The key-value caches of the two ways in which tokens go through a model: passes over a tree, and decoding steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformers.cache_utils import Cache, DynamicLayer

from whether.engine.attention import lay_out, tree_mask
from whether.engine.prefix_tree import Pass

if TYPE_CHECKING:
    from torch import Tensor


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values [B, G, filled, D] in a store with room for those to come."""

    def __init__(self, store: "tuple[Tensor, Tensor] | None" = None, filled: int = 0):
        super().__init__()
        self.store = store
        """Keys and values [B, G, room, D]; None until the first token."""
        self.filled = filled
        self.is_initialized = True

    def update(self, key_states: "Tensor", value_states: "Tensor", *_: Any, **__: Any) -> tuple["Tensor", "Tensor"]:
        """Store the next tokens' keys and values [B, G, N, D] and return all so far."""
        start, end = self.filled, self.filled + key_states.shape[-2]
        if self.store is None or end > self.store[0].shape[-2]:
            self._grow(key_states, value_states, 2 * end)
        for part, states in zip(self.stored(), (key_states, value_states), strict=True):
            part[:, :, start:end] = states
        self.filled = end
        keys, values = self.stored()
        return keys[:, :, :end], values[:, :, :end]

    def _grow(self, keys: "Tensor", values: "Tensor", room: int) -> None:
        old = self.store
        self.store = tuple(part.new_empty(*part.shape[:2], room, part.shape[-1]) for part in (keys, values))  # type: ignore[assignment]
        if old is not None:
            for part, before in zip(self.stored(), old, strict=True):
                part[:, :, : self.filled] = before[:, :, : self.filled]

    def stored(self) -> tuple["Tensor", "Tensor"]:
        """Return the whole store: keys and values [B, G, room, D]."""
        if self.store is None:
            raise ValueError("nothing is stored yet")
        return self.store

    def gather(self, places: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Return keys and values [G, *places.shape, D] of a single row at these places."""
        keys, values = self.stored()
        return keys[0][:, places], values[0][:, places]

    def keep(self, rows: "Tensor") -> None:
        """Drop all rows but these."""
        keys, values = self.stored()
        self.store = keys[rows], values[rows]

    def get_seq_length(self) -> int:
        """Return how many places are filled."""
        return self.filled


class Chain:
    """A model with the keys and values of one chain of tokens, from which passes over a `PrefixTree` branch off."""

    def __init__(self, model: Any, *, in_blocks: bool | None = None):
        """`in_blocks`: whether attention goes through `Blocks` or one mask; None: where there is a kernel for it."""
        self.model = model
        self.in_blocks = model.device.type == "cpu" if in_blocks is None else in_blocks
        layers = model.config.get_text_config().num_hidden_layers
        self.layers = [RoomyLayer() for _ in range(layers)]

    def run(self, step: Pass, wanted: Sequence[int]) -> "Tensor":
        """Put a pass's nodes through the model and return the logits [len(wanted), vocabulary] at the nodes `wanted`.

        Afterwards the cache holds the chain and the nodes, until the next pass cuts it.
        """
        import torch

        device, dtype = self.model.device, self.model.dtype
        for layer in self.layers:
            layer.filled = step.cached
        if self.in_blocks:
            # A mask of four dimensions is what keeps transformers from making one of its own; blocks bring theirs.
            options = {"attention_mask": torch.zeros(1, 1, 1, 1, dtype=dtype), "blocks": lay_out(step, dtype)}
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
        logits: Tensor = output.logits[0]
        return logits

    def gather(self, places: "Tensor") -> list[tuple["Tensor", "Tensor"]]:
        """Return each layer's keys and values [G, *places.shape, D] at places in the cache."""
        return [layer.gather(places) for layer in self.layers]


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
        self.layers: list[RoomyLayer] = []
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
            for store, states in zip(layer.stored(), (keys, values), strict=True):
                store[rows, :, :width] = states.transpose(0, 1)

    def _layer(self, like: "Tensor") -> RoomyLayer:
        groups, _, size = like.shape
        shape = (len(self.positions), groups, self.own + self.room, size)
        return RoomyLayer((like.new_zeros(shape), like.new_zeros(shape)), self.own)

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
