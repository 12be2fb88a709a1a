"""Batches in which the tokens that all examples start with are computed once.

The prompts of a task share their instruction. `packed` lays the shared prefix and what each example has of its own in
one sequence; a mask lets every example see the prefix and itself, and positions restart after the prefix:

    tokens     p0 p1 p2 | a3 a4 a5 | b3 b4        p: shared prefix; a, b: two examples' own tokens
    positions   0  1  2 |  3  4  5 |  3  4
    a5 sees     p0 p1 p2   a3 a4 a5
    b4 sees     p0 p1 p2              b3 b4

So every answer token has the same context at the same positions as in a padded batch, and loss and gradients are equal
up to rounding. Logits are computed only where an answer token is predicted. The mask is given to the model as it is, or
in `blocks`, to the attention of `whether.finetune.packed_attention`, which leaves out most of what it hides. `padded`
is the plain layout, for models that cannot take such a mask and as the reference in tests.

A batch is {"pieces": forward passes, "labels": int64 [examples, 1 + longest answer], "tokens": int}. Column 0 of the
labels stands for the prompt; -100 marks what is not to be predicted, as everywhere in transformers. A piece holds the
arguments of the model's forward under "inputs", and "predicts": bool, true where the logits that it returns (of the
pieces in order, row by row) predict the answer tokens of the examples in order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whether.finetune.data import TrainingRow

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a position that is not predicted."""
OWN_TOKENS = 1024
"""A packed sequence takes on examples up to so many own tokens: attention costs the square of its length."""

Batch = dict[str, Any]


@dataclass(frozen=True)
class Collator:
    """Makes a batch of rows, packed or padded; what a DataLoader calls."""

    packed: bool
    mask_dtype: "torch.dtype"
    """Of the model's activations; an additive mask must have it."""
    blocks: bool = False
    """Whether a packed mask can come in blocks: the model has the attention of `whether.finetune.packed_attention`."""

    def __call__(self, rows: Sequence[TrainingRow]) -> Batch:
        """Return the batch."""
        if self.packed:
            groups = group_rows(rows, len(shared_prefix(rows)), OWN_TOKENS)
            pieces = [packed(group, self.mask_dtype, blocks=self.blocks) for group in groups]
        else:
            pieces = [padded(rows)]
        return {
            "pieces": pieces,
            "labels": answer_labels(rows),
            "tokens": sum(len(row.prompt) + len(row.answer) for row in rows),
        }


def shared_prefix(rows: Sequence[TrainingRow]) -> list[int]:
    """Return the token ids that all prompts start with, at most all but the last of the shortest prompt.

    The last prompt token predicts the first answer token, so each example keeps one prompt token for itself.
    """
    first, last = min(row.prompt for row in rows), max(row.prompt for row in rows)
    own = (index for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    shortest = min(len(row.prompt) for row in rows)
    return first[: min(next(own, shortest), shortest - 1)]


def group_rows(rows: Sequence[TrainingRow], prefix: int, limit: int) -> list[list[TrainingRow]]:
    """Split rows, in order, into groups with at most `limit` tokens after a prefix of `prefix` tokens (or one row)."""
    groups: list[list[TrainingRow]] = [[]]
    room = limit
    for row in rows:
        own = len(row.prompt) + len(row.answer) - prefix
        if groups[-1] and own > room:
            groups.append([])
            room = limit
        groups[-1].append(row)
        room -= own
    return groups


def packed(rows: Sequence[TrainingRow], mask_dtype: "torch.dtype", *, blocks: bool = False) -> dict[str, Any]:
    """Return one sequence of the shared prefix, then each row's own tokens, with its mask and positions.

    The last answer token predicts nothing and is left out. input_ids and position_ids are int64 [1, length],
    attention_mask is additive [1, 1, length, length], logits_to_keep is int64 [answer tokens]. With `blocks` the mask
    is in packed_layout, and attention_mask stands in for it so that the model makes none: [1, 1, 1, 1].
    """
    import torch

    prefix = shared_prefix(rows)
    tokens, positions, owners, predicting = list(prefix), list(range(len(prefix))), [0] * len(prefix), list[int]()
    for owner, row in enumerate(rows, 1):
        own = [*row.prompt[len(prefix) :], *row.answer[:-1]]
        first = len(tokens) + len(row.prompt) - len(prefix) - 1
        predicting.extend(range(first, first + len(row.answer)))
        tokens.extend(own)
        positions.extend(range(len(prefix), len(prefix) + len(own)))
        owners.extend([owner] * len(own))
    return {
        "inputs": {
            "input_ids": torch.tensor([tokens]),
            "position_ids": torch.tensor([positions]),
            "logits_to_keep": torch.tensor(predicting),
            **(_layout(owners, mask_dtype) if blocks else {"attention_mask": _mask(owners, mask_dtype)}),
        },
        "predicts": torch.ones(1, len(predicting), dtype=torch.bool),
    }


def _mask(owners: Sequence[int], dtype: "torch.dtype") -> "torch.Tensor":
    """Return the additive mask [1, 1, length, length] of tokens of so many owners; all see what 0 owns."""
    import torch

    owner_of = torch.tensor(owners)
    sees = ((owner_of[:, None] == owner_of) | (owner_of == 0)).tril()
    return torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)[None, None]


def _layout(owners: Sequence[int], dtype: "torch.dtype") -> dict[str, Any]:
    """Return the model's arguments that say the same to the attention in blocks."""
    import torch

    from whether.finetune.packed_attention import block_layout

    counts = torch.tensor(owners).bincount().tolist()
    layout = block_layout(counts[1:], counts[0], dtype)
    return {"packed_layout": layout, "attention_mask": torch.zeros(1, 1, 1, 1, dtype=dtype)}


def padded(rows: Sequence[TrainingRow]) -> dict[str, Any]:
    """Return one sequence a row, filled up on the right: input_ids and attention_mask are int64 [rows, longest]."""
    import torch

    lengths = [len(row.prompt) + len(row.answer) for row in rows]
    input_ids = torch.zeros(len(rows), max(lengths), dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    predicts = torch.zeros(input_ids.shape, dtype=torch.bool)
    for index, row in enumerate(rows):
        input_ids[index, : lengths[index]] = torch.tensor([*row.prompt, *row.answer])
        attention_mask[index, : lengths[index]] = 1
        predicts[index, len(row.prompt) - 1 : lengths[index] - 1] = True
    return {"inputs": {"input_ids": input_ids, "attention_mask": attention_mask}, "predicts": predicts}


def answer_labels(rows: Sequence[TrainingRow]) -> "torch.Tensor":
    """Return the answers, int64 [rows, 1 + longest answer], with `IGNORED` in column 0 and after each answer's end."""
    import torch

    labels = torch.full((len(rows), 1 + max(len(row.answer) for row in rows)), IGNORED)
    for index, row in enumerate(rows):
        labels[index, 1 : 1 + len(row.answer)] = torch.tensor(row.answer)
    return labels


def logits_at_answers(model: Any, batch: Batch) -> "torch.Tensor":
    """Return float32 [answer tokens of the batch, vocabulary]: the logits that predict each answer token, in order."""
    import torch

    forward = _after_virtual_tokens(model) if learns_virtual_tokens(model) else model
    logits = []
    for piece in batch["pieces"]:
        run = forward if "position_ids" in piece["inputs"] else model
        predicts = piece["predicts"]
        # peft returns logits of virtual tokens too, before the others.
        logits.append(run(**piece["inputs"], use_cache=False).logits[:, -predicts.shape[1] :][predicts])
    return torch.cat(logits).float()


def learns_virtual_tokens(model: Any) -> bool:
    """Return whether a model is peft's prompt learning: it puts learned tokens before every sequence."""
    from peft import PeftModel

    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def _after_virtual_tokens(model: Any) -> Callable[..., Any]:
    """Return a forward pass of packed inputs in which every token comes after the model's virtual tokens and sees them.

    Their keys and values are computed once for all passes. peft's own forward takes no mask of four dimensions.
    """
    import torch
    from transformers import DynamicCache

    from whether.model.virtual_tokens import learned_keys_values

    keys_values = learned_keys_values(model)
    count = keys_values[0][0].shape[-2]

    def forward(*, attention_mask: "torch.Tensor", position_ids: "torch.Tensor", **inputs: Any) -> Any:
        seen = attention_mask.new_zeros(*attention_mask.shape[:-1], count)
        return model.get_base_model()(
            attention_mask=torch.cat([seen, attention_mask], dim=-1),
            position_ids=position_ids + count,
            past_key_values=DynamicCache(keys_values),
            **inputs,
        )

    return forward


def computed_tokens(batch: Batch) -> int:
    """Return how many token positions the model computes for a batch, padding included."""
    return sum(piece["inputs"]["input_ids"].numel() for piece in batch["pieces"])
