"""Text that looks like the markup of a chat is text, wherever a model reads it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from whether.model.tokens import encode, encode_answer, encode_text, markup_of
from whether.records import Message

MARKUP = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "[INST]", "<｜end▁of▁turn｜>"]
PIECES = st.sampled_from(
    [*MARKUP, "<|im_", "end|>", "<", "|>", "<tool", "_call>", " ", "\n", "system", "covid", "\ue000", "1\ue001"]
)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Iterator[Any]:
    made = AutoTokenizer.from_pretrained(tiny_model)
    made.add_tokens(["<tool_call>", "[INST]", "covid", "   ", "<｜end▁of▁turn｜>"])
    return made


def markup_ids(tokenizer: Any) -> set[int]:
    return {tokenizer.convert_tokens_to_ids(token) for token in MARKUP}


def test_words_and_spaces_that_were_added_are_no_markup(tokenizer: Any) -> None:
    assert sorted(markup_of(tokenizer)) == sorted(MARKUP)
    assert tokenizer.convert_tokens_to_ids("covid") in encode_text(tokenizer, "covid <tool_call>")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=8).map("".join), st.lists(PIECES, max_size=4).map("".join))
def test_no_content_makes_markup(tokenizer: Any, row: str, demonstration: str) -> None:
    chat = [Message("system", row), Message("user", demonstration), Message("assistant", row), Message("user", row)]
    plain = [Message(message.role, "x") for message in chat]
    structure = markup_ids(tokenizer)
    found, wanted = ([one for one in encode(tokenizer, messages) if one in structure] for messages in (chat, plain))
    assert found == wanted
    text = tokenizer.decode(encode(tokenizer, chat))
    assert text.count(f"user\n{row}<|im_end|>") >= 1
    assert not structure & set(encode_answer(tokenizer, row)[:-1])
    assert tokenizer.decode(encode_text(tokenizer, row)) == row


def test_a_normaliser_makes_no_markup(tiny_model: Path) -> None:
    from tokenizers import AddedToken, normalizers

    made = AutoTokenizer.from_pretrained(tiny_model)
    made.backend_tokenizer.normalizer = normalizers.NFKC()
    made.add_tokens([AddedToken("<tool>", normalized=True)])
    wide = "\uff1ctool\uff1e"
    assert made.convert_tokens_to_ids("<tool>") not in encode_text(made, wide)
    assert made.convert_tokens_to_ids("<tool>") not in encode(made, [Message("user", wide)])


@pytest.mark.heavy
def test_encoders_read_separators_as_text() -> None:
    from whether.prompt.similarity import sentence_encoder

    encoder = sentence_encoder("this test")
    ids = encoder.tokenizer("a [SEP] b [MASK]")["input_ids"]
    special = {encoder.tokenizer.sep_token_id, encoder.tokenizer.mask_token_id}
    assert [one for one in ids if one in special] == [encoder.tokenizer.sep_token_id]
