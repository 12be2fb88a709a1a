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

    Where a content holds the text of a special token, contents are encoded separately from the template, as plain text.
    """
    special = [token for token in tokenizer.get_added_vocab() if token]
    if not any(token in message.content for message in messages for token in special):
        return list(tokenizer(render(tokenizer, messages), add_special_tokens=False)["input_ids"])
    chat = with_template_roles(tokenizer, messages)
    ids: list[int] = []
    for index, part in enumerate(re.split("\ue000(\\d+)\ue001", render(tokenizer, _marked(chat)))):
        text = chat[int(part)].content if index % 2 else part
        ids += tokenizer(text, add_special_tokens=False, split_special_tokens=bool(index % 2))["input_ids"]
    return ids


def encode_answer(tokenizer: Any, answer: str) -> list[int]:
    """Return an answer's token ids with the token that ends the turn."""
    ids = tokenizer(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, tokenizer.eos_token_id]
