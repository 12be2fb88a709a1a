"""From chat messages to tokens, the same in every program that renders them.

Text from data is always encoded as text: a field that contains `<|im_end|>` or the like cannot end its message.

Some chat templates have no system role: they raise an error at a system message, or leave its text out. For those the
system text becomes the beginning of the user's turn, in training and in answering alike.
"""

import re
from collections.abc import Sequence
from typing import Any

from whether.errors import EngineError
from whether.records import Message

BETWEEN = "\n\n"
"""What stands between a system text and the user's text where both are one turn."""
_TEMPLATE_FAULTS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a template can raise besides Jinja's own errors."""
_MERGED: dict[tuple[str, str], bool] = {}
"""Whether a template, with its special tokens, has system texts put into the user's turns: found out once."""


def transcript(messages: Sequence[Message]) -> str:
    """Return messages as a text to read, for a model whose template is not known."""
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in messages)


def render(tokenizer: Any, messages: Sequence[Message], *, continue_last: bool = False) -> str:
    """Return the prompt as one string, with the model's chat template and the turn opened for the answer.

    `continue_last` leaves the last message open instead. Raises EngineError for a tokenizer without a template, and
    where the template raises an error.
    """
    if not tokenizer.chat_template:
        raise EngineError(
            "the model's tokenizer has no chat template: use an instruct model or add chat_template.jinja"
        )
    return _apply_template(tokenizer, with_template_roles(tokenizer, messages), continue_last=continue_last)


def _apply_template(tokenizer: Any, messages: Sequence[Message], *, continue_last: bool = False) -> str:
    from jinja2 import TemplateError

    chat = [message._asdict() for message in messages]
    try:
        text = tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=not continue_last, continue_final_message=continue_last
        )
    except (TemplateError, *_TEMPLATE_FAULTS) as error:
        roles = [message.role for message in messages]
        raise EngineError(f"the model's chat template refuses messages of the roles {roles}: {error}") from None
    return str(text)


def with_template_roles(tokenizer: Any, messages: Sequence[Message]) -> list[Message]:
    """Return messages in roles that the template has: as they are, or each system text before the next user text."""
    if merges_system(tokenizer) and any(message.role == "system" for message in messages):
        return merge_system(messages)
    return list(messages)


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """Return messages without a system role: each system text begins the user turn that follows, or is one itself."""
    merged, waiting = list[Message](), list[str]()
    for message in messages:
        if message.role == "system":
            waiting += [message.content] if message.content else []
            continue
        if waiting and message.role != "user":
            merged.append(Message("user", BETWEEN.join(waiting)))
            waiting = []
        content = BETWEEN.join([*waiting, message.content]) if message.content else BETWEEN.join(waiting)
        merged.append(Message(message.role, content))
        waiting = []
    return [*merged, Message("user", BETWEEN.join(waiting))] if waiting else merged


def merges_system(tokenizer: Any) -> bool:
    """Return whether system texts go into the user's turns, which is so where that works and a system role does not."""
    key = str(tokenizer.chat_template), str(tokenizer.special_tokens_map)
    if key not in _MERGED:
        probe = [Message("system", ""), Message("user", "")]
        _MERGED[key] = not _writes_all(tokenizer, probe) and _writes_all(tokenizer, [probe[1]])
    return _MERGED[key]


def _writes_all(tokenizer: Any, messages: Sequence[Message]) -> bool:
    try:
        return not left_out(tokenizer, messages)
    except EngineError:
        return False


def left_out(tokenizer: Any, messages: Sequence[Message]) -> list[str]:
    """Return the roles of the messages whose texts the template does not write. Raises EngineError as `render`."""
    marked = _marked(messages)
    text = _apply_template(tokenizer, marked)
    return [message.role for message in marked if message.content not in text]


def _marked(messages: Sequence[Message]) -> list[Message]:
    """Return messages with their numbers, between characters that no text has, in place of their contents."""
    return [Message(message.role, f"\ue000{index}\ue001") for index, message in enumerate(messages)]


def encode(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Return the prompt's token ids.

    Where a content holds the text of a token that is markup, contents are encoded separately from the template, as
    plain text.
    """
    markup = markup_of(tokenizer)
    if not any(holds_markup(tokenizer, message.content, markup) for message in messages):
        return list(tokenizer(render(tokenizer, messages), add_special_tokens=False)["input_ids"])
    chat = with_template_roles(tokenizer, messages)
    ids: list[int] = []
    for index, part in enumerate(re.split("\ue000(\\d+)\ue001", render(tokenizer, _marked(chat)))):
        if index % 2:
            ids += encode_text(tokenizer, chat[int(part)].content)
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


def holds_markup(tokenizer: Any, text: str, markup: Sequence[str]) -> bool:
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
    if not tags and holds_markup(tokenizer, text, found):
        return list(text)
    parts = re.split("|".join(f"(?<={re.escape(tag[:1])})(?={re.escape(tag[1:])})" for tag in tags), text)
    return [part for part in parts if part] if tags else [text]
