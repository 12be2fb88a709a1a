"""From chat messages to tokens.

Text from data is always encoded as text: a field that contains `<|im_end|>` or the like cannot end its message.
"""

import re
from collections.abc import Sequence
from typing import Any

from whether.errors import EngineError
from whether.records import Message


def transcript(messages: Sequence[Message]) -> str:
    """Return messages as a text to read, for a model whose template is not known."""
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in messages)


def render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Return the prompt as one string, with the model's chat template and the turn opened for the answer."""
    if not tokenizer.chat_template:
        raise EngineError(
            "the model's tokenizer has no chat template: use an instruct model or add chat_template.jinja"
        )
    chat = [message._asdict() for message in messages]
    return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def encode(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Return the prompt's token ids.

    Where a content holds the text of a token that is markup, contents are encoded separately from the template, as
    plain text.
    """
    markup = markup_of(tokenizer)
    if not any(_holds(tokenizer, message.content, markup) for message in messages):
        return list(tokenizer(render(tokenizer, messages), add_special_tokens=False)["input_ids"])
    marks = [Message(message.role, f"\ue000{index}\ue001") for index, message in enumerate(messages)]
    ids: list[int] = []
    for index, part in enumerate(re.split("\ue000(\\d+)\ue001", render(tokenizer, marks))):
        if index % 2:
            ids += encode_text(tokenizer, messages[int(part)].content)
        else:
            ids += tokenizer(part, add_special_tokens=False)["input_ids"]
    return ids


def encode_answer(tokenizer: Any, answer: str) -> list[int]:
    """Return an answer's token ids with the token that ends the turn."""
    return [*encode_text(tokenizer, answer), tokenizer.eos_token_id]


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text in which nothing is markup, without special tokens around it."""
    return [
        token
        for part in _between_markup(tokenizer, text)
        for token in tokenizer(part, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    ]


def markup_of(tokenizer: Any) -> list[str]:
    """Return the texts of the tokens that structure a chat: special ones, and others that are written as tags.

    Words and runs of spaces that a model has as added tokens are text as any other.
    """
    special, template = {*tokenizer.all_special_tokens}, str(tokenizer.chat_template or "")
    added = tokenizer.added_tokens_decoder.values()
    return [
        token.content
        for token in added
        if token.content.strip()
        and (token.special or token.content in special or token.content in template or _TAG.fullmatch(token.content))
    ]


_TAG = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]|<\|.+\|>|<｜.+｜>", re.DOTALL)
"""How markup is written: <tool_call>, [INST], <|im_end|>."""


def _holds(tokenizer: Any, text: str, markup: Sequence[str]) -> bool:
    """Return whether a text holds markup, as it stands or as the tokenizer's normaliser reads it."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    read = normalizer.normalize_str(text) if normalizer is not None and text else text
    return any(token in text or token in read for token in markup)


def _between_markup(tokenizer: Any, text: str) -> list[str]:
    """Return a text in parts, cut within the markup that the tokenizer cannot be told to take apart: tags that are
    not special. Where only its normaliser makes one, there is no place to cut, and each character is a part."""
    plain = {token.content for token in tokenizer.added_tokens_decoder.values() if not token.special}
    found = [tag for tag in markup_of(tokenizer) if tag in plain]
    tags = [tag for tag in found if tag in text]
    if not tags and _holds(tokenizer, text, found):
        return list(text)
    parts = re.split("|".join(f"(?<={re.escape(tag[:1])})(?={re.escape(tag[1:])})" for tag in tags), text)
    return [part for part in parts if part] if tags else [text]
