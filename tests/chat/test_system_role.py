"""A chat template without a system role gets the system text in the user's turn, from every program that renders."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whether.chat.messages import zero_shot_messages
from whether.engine.lm_eval_model import EngineLM
from whether.engine.local import LocalModel
from whether.errors import EngineError
from whether.finetune.data import encode_rows
from whether.generate.load import base_counter
from whether.model.loading import load_tokenizer
from whether.model.tokens import encode, left_out, merge_system, merges_system, render, with_template_roles
from whether.records import Example, Message, Task, TrainingExample

SYSTEM, USER, ANSWER = Message("system", "Answer."), Message("user", "a?"), Message("assistant", "b")
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
ALTERNATES = (
    "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% endfor %}"
)
DROPS = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}"


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(params=[REFUSES, ALTERNATES, DROPS], ids=["refuses", "alternates", "drops"])
def roleless(tokenizer: Any, request: pytest.FixtureRequest) -> Any:
    """A tokenizer whose template has no system role."""
    tokenizer.chat_template = request.param + tokenizer.chat_template
    return tokenizer


@pytest.fixture
def folder(roleless: Any, tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder with that tokenizer."""
    made = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    roleless.save_pretrained(made)
    return made


def test_a_template_with_a_system_role_gets_the_messages_as_they_are(tokenizer: Any) -> None:
    assert not merges_system(tokenizer)
    assert with_template_roles(tokenizer, [SYSTEM, USER]) == [SYSTEM, USER]
    assert render(tokenizer, [SYSTEM, USER]).startswith("<|im_start|>system\nAnswer.<|im_end|>\n<|im_start|>user\na?")


def test_without_one_the_system_text_begins_the_first_user_turn(roleless: Any) -> None:
    assert merges_system(roleless)
    text = render(roleless, [SYSTEM, USER, ANSWER, USER])
    assert text == (
        "<|im_start|>user\nAnswer.\n\na?<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
        "<|im_start|>user\na?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert left_out(roleless, with_template_roles(roleless, [SYSTEM, USER])) == []


def test_control_tokens_in_a_merged_system_text_stay_text(roleless: Any) -> None:
    attacked = encode(roleless, [Message("system", "<|im_end|>"), USER])
    harmless = encode(roleless, [SYSTEM, USER])
    end = roleless.eos_token_id
    assert attacked.count(end) == harmless.count(end)
    assert "<|im_end|>\n\na?" in roleless.decode(attacked)


def test_a_template_that_refuses_everything_is_one_error(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('broken') }}"
    assert not merges_system(tokenizer)
    with pytest.raises(EngineError, match=r"roles \['system', 'user'\]: broken"):
        render(tokenizer, [SYSTEM, USER])
    tokenizer.chat_template = {"rag": "{{ messages }}"}
    with pytest.raises(EngineError, match="the model's chat template refuses"):
        render(tokenizer, [USER])


@pytest.mark.parametrize(
    ("chat", "merged"),
    [
        ([SYSTEM], [Message("user", "Answer.")]),
        ([SYSTEM, ANSWER, USER], [Message("user", "Answer."), ANSWER, USER]),
        ([SYSTEM, SYSTEM, USER], [Message("user", "Answer.\n\nAnswer.\n\na?")]),
        ([USER, ANSWER, SYSTEM, USER], [USER, ANSWER, Message("user", "Answer.\n\na?")]),
        ([USER, ANSWER, SYSTEM], [USER, ANSWER, Message("user", "Answer.")]),
        ([Message("system", ""), USER], [USER]),
        ([SYSTEM, Message("user", "")], [Message("user", "Answer.")]),
        ([Message("user", "")], [Message("user", "")]),
        ([], []),
    ],
)
def test_where_system_texts_go(chat: list[Message], merged: list[Message]) -> None:
    assert merge_system(chat) == merged


@given(st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text(max_size=5)), max_size=8))
def test_no_text_is_lost_and_none_changes_its_place(chat: Sequence[Message]) -> None:
    merged = merge_system(chat)
    assert "system" not in [message.role for message in merged]
    kept = "".join(message.content for message in merged).replace("\n\n", "")
    assert kept == "".join(message.content for message in chat).replace("\n\n", "")
    answers = [message for message in chat if message.role == "assistant"]
    assert [message for message in merged if message.role == "assistant"] == answers


def test_training_and_every_way_of_answering_render_alike(
    roleless: Any, folder: Path, tiny: LocalModel, label_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "tokenizer", load_tokenizer(folder))
    chat = zero_shot_messages(label_task, Example("1", {"text": "my invoice"}, "billing"))
    (row,) = encode_rows(roleless, [TrainingExample("1", chat, [Message("assistant", "billing")])])
    assert row.prompt == encode(tiny.tokenizer, chat)
    text = render(tiny.tokenizer, chat)
    assert label_task.instruction in text
    assert EngineLM(tiny).apply_chat_template([message._asdict() for message in chat]) == text
    assert tiny.tokenizer(text, add_special_tokens=False)["input_ids"] == row.prompt
    assert base_counter(folder)(chat) == len(row.prompt)
    shown = [message._asdict() for message in with_template_roles(roleless, chat)]  # as a model card has them
    assert roleless.apply_chat_template(shown, tokenize=False, add_generation_prompt=True) == text


def test_lm_eval_can_leave_the_last_message_open(roleless: Any, tiny: LocalModel, monkeypatch: Any) -> None:
    monkeypatch.setattr(tiny, "tokenizer", roleless)
    chat = [message._asdict() for message in (SYSTEM, USER, ANSWER)]
    text = EngineLM(tiny).apply_chat_template(chat, add_generation_prompt=False)
    assert text == "<|im_start|>user\nAnswer.\n\na?<|im_end|>\n<|im_start|>assistant\nb"
