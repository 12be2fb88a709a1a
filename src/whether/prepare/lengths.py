"""Whether an answer of so many tokens could be given at all."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from whether.model.tokens import encode_answer
from whether.records import Example


def answer_length_check(model_folder: Path, most: int) -> Callable[[Example], None]:
    """Return what raises ValueError for an example whose target has more than `most` tokens of the model.

    The tokenizer is loaded for the first target that could be as long.
    """

    @cache
    def tokenizer() -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(model_folder, local_files_only=True)

    @cache
    def length(target: str) -> int:
        return len(encode_answer(tokenizer(), target)) - 1  # without the token that ends the turn

    def check(example: Example) -> None:
        target = example.target
        if target.isascii() and len(target) + 1 < most:  # a token has at least a character, after one for the beginning
            return
        if (tokens := length(target)) > most:
            raise ValueError(
                f"the target {target!r:.80} has {tokens} tokens, and task.max_new_tokens is {most}, so no model could"
                " give it: raise max_new_tokens"
            )

    return check
