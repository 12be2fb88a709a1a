"""Do a model's tokenizer and chat template go with its weights, and is every text of a chat written?

Each fault is one error that names the file and what to do. A folder's code is not run.
"""

import logging
from pathlib import Path
from typing import Any

from whether.errors import EngineError, SourceError
from whether.model.info import eos_token_ids, prefix_token_id
from whether.model.tokens import left_out, render, with_template_roles
from whether.records import Message
from whether.sources.model_files import read_settings

logger = logging.getLogger(__name__)


def check_tokenizer(folder: Path, model: Any, what: str) -> Any:
    """Return the tokenizer of a folder whose model is known without its weights. Raises SourceError for a fault."""
    tokenizer = _load_tokenizer(folder, what)
    _check_vocabulary(model, tokenizer, what)
    _check_ending(folder, model, tokenizer, what)
    _check_template(folder, tokenizer, what)
    _warn_of_ending(model, tokenizer, what)
    return tokenizer


def _load_tokenizer(folder: Path, what: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        reason = str(error).strip().replace(str(folder), what).partition("\n")[0] or repr(error)
        if "trust_remote_code" in str(error):
            reason = "tokenizer_config.json asks for code of the folder to be run (auto_map), which is never done"
        raise SourceError(
            f"model {what}: the tokenizer cannot be loaded: {reason}; take its files from the model's repository, with"
            " tokenizer.json where there is one"
        ) from error


def _check_vocabulary(model: Any, tokenizer: Any, what: str) -> None:
    """Raise SourceError for a token that text can become and that the model has no embedding for.

    Control tokens without one, as for the images of a model's larger relatives, are harmless: no text becomes one.
    """
    rows = _embedded(model)
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows}
    control = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    template = str(tokenizer.chat_template)
    harmful = sorted(token for token in beyond if token not in control or token in template)
    if harmful:
        raise SourceError(
            f"model {what}: the tokenizer has {max(beyond.values()) + 1} tokens and the model embeddings for {rows}"
            f" (vocab_size in config.json); {len(harmful)} tokens, such as {harmful[0]!r}, would have none: take"
            " tokenizer and weights from one repository, or enlarge the embeddings (`resize_token_embeddings`) and"
            " train them"
        )


def _embedded(model: Any) -> int:
    """Return how many tokens have an input embedding and a score."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    return min(int(end.weight.shape[0]) for end in ends if end is not None)


def _check_ending(folder: Path, model: Any, tokenizer: Any, what: str) -> None:
    """Raise SourceError where nothing ends an answer, or what does is not a token."""
    configured = eos_token_ids(model.generation_config, tokenizer)
    if tokenizer.eos_token_id is None:
        known = [tokenizer.convert_ids_to_tokens(token) for token in sorted(configured) if isinstance(token, int)]
        example = next((token for token in known if token), "<|im_end|>")
        raise SourceError(
            f"model {what}: tokenizer_config.json names no end token (eos_token), which ends each answer in training"
            f' and in answering: add one that the chat template ends turns with, such as "eos_token": "{example}"'
        )
    rows = _embedded(model)
    named = {"eos_token of the tokenizer": tokenizer.eos_token_id, "bos_token of it": prefix_token_id(tokenizer)}
    for name in ("generation_config.json", "config.json"):
        if (folder / name).exists():
            named[f"eos_token_id in {name}"] = read_settings(folder / name, what).get("eos_token_id")
    for where, given in named.items():
        for token in given if isinstance(given, list) else [given]:
            if token is not None and not (isinstance(token, int) and 0 <= token < rows):
                raise SourceError(
                    f"model {what}: {where} is {token!r}, and the model has tokens 0 to {rows - 1}: correct it to the"
                    " token that ends a turn of the chat template"
                )


def _check_template(folder: Path, tokenizer: Any, what: str) -> None:
    """Raise SourceError for a chat template that does not write every text of a chat."""
    own_file = (folder / "chat_template.jinja").exists()
    file = "chat_template.jinja" if own_file else "chat_template in tokenizer_config.json"
    if not tokenizer.chat_template:
        raise SourceError(
            f"model {what}: the tokenizer has no chat template; choose an instruct model, or add chat_template.jinja"
            " next to tokenizer.json"
        )
    advice = "take the template of the model's own repository, in the form that transformers reads"
    system, user, assistant = Message("system", ""), Message("user", ""), Message("assistant", "")
    for chat in ([user], [system, user], [system, user, assistant, user]):
        roles = ", ".join(message.role for message in chat)
        try:
            lost = left_out(tokenizer, with_template_roles(tokenizer, chat))
        except EngineError as error:
            raise SourceError(f"model {what}: {file} cannot write a chat of {roles}: {error}; {advice}") from None
        if lost:
            raise SourceError(
                f"model {what}: {file} leaves out a text of the {' and the '.join(dict.fromkeys(lost))} in a chat of"
                f" {roles}, so instructions or examples would be lost: {advice}"
            )


def _warn_of_ending(model: Any, tokenizer: Any, what: str) -> None:
    """Warn where the chat template ends an answer with a token that ends none."""
    question, answer = Message("user", "question"), Message("assistant", "\ue000")
    ending = render(tokenizer, [Message("system", "instruction"), question, answer, question]).partition("\ue000")[2]
    ids = tokenizer(ending, add_special_tokens=False)["input_ids"]
    control = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    first = next((token for token in ids if token in control), None)
    if first is not None and first not in eos_token_ids(model.generation_config, tokenizer):
        logger.warning(
            "model %s: its chat template ends an answer with %r, which is not among its end tokens: answers may run to"
            " their limit; add %d to eos_token_id in generation_config.json",
            what, tokenizer.convert_ids_to_tokens(first), first,
        )  # fmt: skip
