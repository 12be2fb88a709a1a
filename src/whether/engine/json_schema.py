"""Answers that are JSON documents which a schema allows, by the grammar library llguidance (the extra `constrained`).

Documents are laid out as `json.dumps` does by default: a space after each comma and colon, and no other white space
between values. So a model cannot fill its answer with spaces, and what stands between values needs no thought of it.
"""

import json
from typing import TYPE_CHECKING, Any

from whether.engine.constraints import Forced
from whether.errors import EngineError, MissingPackageError

if TYPE_CHECKING:
    import numpy as np

LAYOUT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


class SchemaWalk:
    """A walk through the documents that a schema allows."""

    def __init__(self, matcher: Any, tokens: Any):
        self._matcher = matcher
        self._tokens = tokens

    def forced(self) -> Forced:
        """Return the tokens to the next place where documents part, as the tokenizer would spell the text.

        Raises EngineError if it spells it with a special token, which would not be part of the answer's text, and where
        the schema has become too complex to go on.
        """
        tokens = list(self._matcher.compute_ff_tokens())
        if special := [token for token in tokens if self._tokens.is_special_token(token)]:
            raise EngineError(
                f"the JSON schema demands the text {self._tokens.decode_str(special)!r}, which is a special token of"
                " the model: leave it out"
            )
        ahead = self._matcher.deep_copy() if tokens else self._matcher
        ahead.consume_tokens(tokens)
        _check_error(ahead)
        return Forced(tokens, is_end=ahead.is_stopped())

    def allowed(self) -> "np.ndarray":
        """Return the ids of the tokens that may come next."""
        import numpy as np

        bias = self._matcher.compute_logit_bias()
        _check_error(self._matcher)
        return np.flatnonzero(np.frombuffer(bias, dtype=np.uint8))

    def advance(self, token: int) -> None:
        """Take an allowed token."""
        self._matcher.consume_token(token)

    def copy(self) -> "SchemaWalk":
        """Return a walk that has come as far."""
        return SchemaWalk(self._matcher.deep_copy(), self._tokens)


def _check_error(matcher: Any) -> None:
    """Raise EngineError for a matcher that gave up: it says that it has stopped, as one at the end does."""
    if matcher.is_error():
        raise EngineError(f"the JSON schema cannot be followed any further: {_reason(matcher)}")


def grammar_tokenizer(tokenizer: Any, eos_token_ids: frozenset[int]) -> Any:
    """Return what llguidance knows of a model's tokens. Takes about a second: keep it.

    Raises MissingPackageError, and EngineError for a tokenizer that is not of the library tokenizers.
    """
    try:
        from llguidance.hf import from_tokenizer
    except ImportError:
        raise MissingPackageError("llguidance", "constrained", "an answer constrained by a JSON schema") from None
    try:
        return from_tokenizer(tokenizer, eos_token=sorted(eos_token_ids))
    except ValueError as error:
        raise EngineError(f"the tokenizer in {tokenizer.name_or_path} cannot follow a JSON schema: {error}") from None


def schema_walk(schema: dict[str, Any], tokens: Any) -> SchemaWalk:
    """Return the walk at its beginning, from a schema and its model's `grammar_tokenizer`.

    Raises EngineError for what is not a JSON schema, and for one with keywords that llguidance cannot enforce.
    """
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from llguidance import LLMatcher, LLParserLimits

    if not isinstance(schema, dict):
        raise EngineError(f"a JSON schema must be a mapping, and is {schema!r}")
    try:
        validator_for(schema).check_schema(schema)
        text = json.dumps(schema)
    except SchemaError as error:
        raise EngineError(f"not a valid JSON schema at {error.json_path}: {error.message}") from None
    except (TypeError, ValueError) as error:
        raise EngineError(f"not a valid JSON schema: {error}") from None
    grammar = LLMatcher.grammar_from_json_schema(text, overrides={**LAYOUT, "lenient": False})
    matcher = LLMatcher(tokens, grammar, log_level=0, limits=LLParserLimits(verbose_errors=False))
    if matcher.is_error():
        raise EngineError(f"answers cannot be constrained to this JSON schema: {_reason(matcher)}")
    walk = SchemaWalk(matcher, tokens)
    walk.allowed()  # what is endless from the first token on is refused here
    return walk


def _reason(matcher: Any) -> str:
    return " ".join(matcher.get_error().removesuffix("<non-verbose/>").split())
