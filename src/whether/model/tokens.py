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

    Where a content holds the text of a special token, contents are encoded separately from the template, as plain text.
    """
    special = [token for token in tokenizer.get_added_vocab() if token]
    if not any(token in message.content for message in messages for token in special):
        return list(tokenizer(render(tokenizer, messages), add_special_tokens=False)["input_ids"])
    marks = [Message(message.role, f"\ue000{index}\ue001") for index, message in enumerate(messages)]
    ids: list[int] = []
    for index, part in enumerate(re.split("\ue000(\\d+)\ue001", render(tokenizer, marks))):
        text = messages[int(part)].content if index % 2 else part
        ids += tokenizer(text, add_special_tokens=False, split_special_tokens=bool(index % 2))["input_ids"]
    return ids


def encode_answer(tokenizer: Any, answer: str) -> list[int]:
    """Return an answer's token ids with the token that ends the turn."""
    ids = tokenizer(answer, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [*ids, tokenizer.eos_token_id]
