"""The packed batch has the loss and the gradients of the padded one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whether.finetune.data import TrainingRow
from whether.finetune.packing import (
    IGNORED,
    Collator,
    answer_labels,
    computed_tokens,
    group_rows,
    packed,
    shared_prefix,
)
from whether.model.tokens import encode, encode_answer
from whether.records import Message, Task

TASK = Task(
    name="any", output="text", metric="exact_match", instruction="", input_template="", labels=[], schema=None,
    answer_pattern=None, max_new_tokens=6,
)  # fmt: skip
PREFIX = list(range(10, 40))
BATCHES = {
    "shared instruction": [
        TrainingRow([*PREFIX, 50, 51], [60, 2]),
        TrainingRow([*PREFIX, 52], [61, 62, 2]),
        TrainingRow([*PREFIX, 53, 54, 55], [60, 2]),
    ],
    "nothing shared": [TrainingRow([5, 6, 7], [60, 2]), TrainingRow([8, 9], [61, 2])],
    "one prompt is another's beginning": [TrainingRow(PREFIX, [60, 2]), TrainingRow([*PREFIX, 50], [61, 2])],
    "equal prompts": [TrainingRow(PREFIX, [60, 2]), TrainingRow(PREFIX, [61, 62, 63, 2])],
    "one row": [TrainingRow([*PREFIX, 50], [60, 2])],
    "one-token prompts and answers": [TrainingRow([5], [2]), TrainingRow([5], [60])],
}


def test_the_layout_is_the_one_in_the_docstring() -> None:
    import torch

    piece = packed([TrainingRow([10, 11, 12, 23, 24], [25, 2]), TrainingRow([10, 11, 12, 33], [34, 2])], torch.float32)
    inputs = piece["inputs"]
    assert inputs["input_ids"].tolist() == [[10, 11, 12, 23, 24, 25, 33, 34]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 3, 4]]
    assert inputs["logits_to_keep"].tolist() == [4, 5, 6, 7]
    assert (inputs["attention_mask"][0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 0, 1, 1],
    ]


@pytest.fixture(scope="module")
def adapted(tiny_model: Path) -> Any:
    """The tiny model with a LoRA whose update is not zero."""
    import torch
    from transformers import AutoModelForCausalLM

    from whether.finetune.adapters import lora

    model = lora(AutoModelForCausalLM.from_pretrained(tiny_model), TASK, r=4, alpha=8, dropout=0.0)
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


@pytest.fixture
def in_blocks(adapted: Any) -> Iterator[Any]:
    """The same with attention in blocks of at most 4 tokens, where examples are not longer."""
    from whether.finetune import packed_attention

    usual = adapted.config._attn_implementation
    packed_attention.register()
    adapted.get_base_model().set_attn_implementation(packed_attention.NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_attention, "WIDTH", 4)
        yield adapted
    adapted.get_base_model().set_attn_implementation(usual)


def loss_and_gradients(
    model: Any, rows: list[TrainingRow], pack: bool, *, blocks: bool = False
) -> tuple[Any, dict[str, Any]]:
    import torch

    from whether.finetune.losses import answer_scores

    model.zero_grad()
    batch = Collator(pack, torch.float32, blocks)(rows)
    loss = answer_scores(model, batch)[0].sum() / batch["labels"].ne(IGNORED).sum()
    loss.backward()
    return loss.detach(), {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("own_tokens", [1024, 5])
def test_packed_equals_padded_equals_each_row_alone(
    adapted: Any, batch: str, own_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr("whether.finetune.packing.OWN_TOKENS", own_tokens)
    rows = BATCHES[batch]
    packed_loss, packed_gradients = loss_and_gradients(adapted, rows, True)
    padded_loss, padded_gradients = loss_and_gradients(adapted, rows, False)
    alone = [adapted(torch.tensor([[*row.prompt, *row.answer]])).logits[0, len(row.prompt) - 1 : -1] for row in rows]
    nll = torch.nn.functional.cross_entropy(torch.cat(alone), torch.tensor([t for row in rows for t in row.answer]))
    torch.testing.assert_close(packed_loss, nll.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(packed_loss, padded_loss, rtol=1e-5, atol=0)
    for name, gradient in packed_gradients.items():
        error = (gradient - padded_gradients[name]).norm()
        assert error <= 1e-5 * padded_gradients[name].norm(), name


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("own_tokens", [1024, 5])
def test_attention_in_blocks_equals_padded(
    in_blocks: Any, batch: str, own_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr("whether.finetune.packing.OWN_TOKENS", own_tokens)
    packed_loss, packed_gradients = loss_and_gradients(in_blocks, BATCHES[batch], True, blocks=True)
    padded_loss, padded_gradients = loss_and_gradients(in_blocks, BATCHES[batch], False)
    torch.testing.assert_close(packed_loss, padded_loss, rtol=1e-5, atol=0)
    for name, gradient in packed_gradients.items():
        assert (gradient - padded_gradients[name]).norm() <= 1e-5 * padded_gradients[name].norm(), name


def test_packing_computes_the_prefix_once() -> None:
    import torch

    rows = BATCHES["shared instruction"]
    assert computed_tokens(Collator(True, torch.float32)(rows)) == 30 + (2 + 1) + (1 + 2) + (3 + 1)
    assert computed_tokens(Collator(False, torch.float32)(rows)) == 3 * 35
    assert Collator(True, torch.float32)(rows)["tokens"] == 34 + 34 + 35


def test_labels_ignore_the_prompt_and_what_follows_the_answer() -> None:
    assert answer_labels(BATCHES["shared instruction"]).tolist() == [
        [IGNORED, 60, 2, IGNORED],
        [IGNORED, 61, 62, 2],
        [IGNORED, 60, 2, IGNORED],
    ]


def test_every_example_keeps_a_prompt_token_of_its_own() -> None:
    assert shared_prefix(BATCHES["one prompt is another's beginning"]) == PREFIX[:-1]
    assert shared_prefix(BATCHES["one-token prompts and answers"]) == []


def test_groups_keep_order_and_limit() -> None:
    rows = [TrainingRow([*PREFIX, *[50] * size], [60, 2]) for size in (3, 3, 20, 1, 1, 1)]
    groups = group_rows(rows, len(PREFIX), 10)
    assert [row for group in groups for row in group] == rows
    assert [len(group) for group in groups] == [2, 1, 3]


@pytest.mark.real
def test_packed_equals_padded_on_the_real_model(real_model: Path) -> None:
    import torch

    from whether.finetune.adapters import lora
    from whether.finetune.collators import make_collator
    from whether.model.loading import load_base

    base, tokenizer = load_base(real_model, torch.float32)
    system = "Predict the intent of the utterance: play_music, rate_book or get_weather. Answer with the intent only."
    asked = {
        "Play some jazz": "play_music",
        "Five stars for Dune": "rate_book",
        "Rain in Oslo on Monday?": "get_weather",
    }
    rows = [
        TrainingRow(
            encode(tokenizer, [Message("system", system), Message("user", text)]), encode_answer(tokenizer, label)
        )
        for text, label in asked.items()
    ]
    model = lora(base, TASK, r=4, alpha=8)
    assert make_collator(model, rows).blocks
    (packed_loss, packed_gradients), (padded_loss, padded_gradients) = (
        loss_and_gradients(model, rows, pack, blocks=pack) for pack in (True, False)
    )
    torch.testing.assert_close(packed_loss, padded_loss, rtol=1e-5, atol=0)
    packed_all, padded_all = (
        torch.cat([gradient.flatten() for gradient in gradients.values()])
        for gradients in (packed_gradients, padded_gradients)
    )
    assert (packed_all - padded_all).norm() <= 1e-5 * padded_all.norm()
    assert make_collator(lora(load_base(real_model, torch.bfloat16)[0], TASK, r=4, alpha=8), rows).packed
