"""What an answer may be: a walk gives, token by token, how it may continue.

A constraint is compiled once into a walk at its beginning, and each answer gets a copy. There are two kinds:
`ChoiceMatcher` for one of some texts, and `SchemaMatcher` for JSON, which llguidance follows.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from whether.errors import EngineError
from whether.model.tokens import encode_answer
from whether.records import Choice

if TYPE_CHECKING:
    import numpy as np


class Forced(NamedTuple):
    """Tokens that must come next, because nothing else may."""

    tokens: list[int]
    is_end: bool
    """Whether nothing may follow them: the answer ends without asking the model."""


class Matcher(Protocol):
    """How far an answer has come in what it may be."""

    def forced(self) -> Forced:
        """Return the tokens that must come next, if any; they are not taken yet.

        Raises EngineError where the constraint has become too complex to continue.
        """
        ...

    def allowed(self) -> "np.ndarray":
        """Return the ids [N] of the tokens that may come next, those that end an answer among them where it may end.

        Raises EngineError where the constraint has become too complex to continue.
        """
        ...

    def advance(self, token: int) -> None:
        """Take an allowed token that does not end the answer."""
        ...

    def copy(self) -> "Matcher":
        """Return a walk that has come as far and continues alone."""
        ...


class ChoiceNode:
    """A place in the tree of choices' tokens, which all walks share."""

    def __init__(self, eos_token_ids: frozenset[int]):
        self.children: dict[int, ChoiceNode] = {}
        self.may_end = False
        self._eos_token_ids = eos_token_ids

    def add(self, tokens: Sequence[int]) -> None:
        """Add the path of a choice below this node."""
        node = self
        for token in tokens:
            node = node.children.setdefault(token, ChoiceNode(self._eos_token_ids))
        node.may_end = True

    @cached_property
    def allowed(self) -> "np.ndarray":
        """What may come next."""
        import numpy as np

        return np.array([*self.children, *(self._eos_token_ids if self.may_end else ())], dtype=np.int64)


class ChoiceMatcher:
    """A walk down the tree of choices, each of which is spelled in the tokens that the tokenizer gives its text."""

    def __init__(self, node: ChoiceNode):
        self._node = node

    def forced(self) -> Forced:
        """Return the tokens to the next place where choices part."""
        node, tokens = self._node, []
        while len(node.children) == 1 and not node.may_end:
            [(token, node)] = node.children.items()
            tokens.append(token)
        return Forced(tokens, is_end=not node.children)

    def allowed(self) -> "np.ndarray":
        """Return the ids of the tokens that may come next."""
        return self._node.allowed

    def advance(self, token: int) -> None:
        """Go down to a child."""
        self._node = self._node.children[token]

    def copy(self) -> "ChoiceMatcher":
        """Return a walk at the same node."""
        return ChoiceMatcher(self._node)


def choice_matcher(
    choices: Choice, tokenizer: Any, eos_token_ids: frozenset[int], max_new_tokens: int
) -> ChoiceMatcher:
    """Return the walk at its beginning.

    Raises EngineError if there is no choice, or for a choice that has more than `max_new_tokens` tokens or that the
    tokenizer does not give back as it is.
    """
    if isinstance(choices.texts, str) or not choices.texts:
        raise EngineError(f"Choices needs a sequence of at least one text, and has {choices.texts!r}")
    root = ChoiceNode(eos_token_ids)
    for text in choices.texts:
        tokens = encode_answer(tokenizer, text)[:-1]
        if (read := tokenizer.decode(tokens, skip_special_tokens=True)) != text:
            raise EngineError(f"the choice {text!r} reads {read!r} in the model's tokens: change it to that")
        if len(tokens) > max_new_tokens:
            raise EngineError(
                f"the choice {text!r} has {len(tokens)} tokens, more than max_new_tokens ({max_new_tokens}): raise that"
            )
        root.add(tokens)
    return ChoiceMatcher(root)


LAYOUT = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


class SchemaMatcher:
    """A walk through the documents that a schema allows."""

    def __init__(self, matcher: Any, tokens: Any):
        self._matcher = matcher
        self._tokens = tokens

    def forced(self) -> Forced:
        """Return the tokens to the next place where documents part, as the tokenizer would spell the text.

        Raises EngineError if it spells it with a special token, which would not be part of the answer's text, and where
        the schema has become too complex to continue.
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

    def copy(self) -> "SchemaMatcher":
        """Return a walk that has come as far."""
        return SchemaMatcher(self._matcher.deep_copy(), self._tokens)


def _check_error(matcher: Any) -> None:
    """Raise EngineError for a matcher that gave up: it says that it has stopped, as one at the end does."""
    if matcher.is_error():
        raise EngineError(f"the JSON schema cannot be followed any further: {_reason(matcher)}")


def grammar_tokenizer(tokenizer: Any, eos_token_ids: frozenset[int]) -> Any:
    """Return what llguidance knows of a model's tokens. Takes about a second: keep it.

    Raises EngineError for a tokenizer that is not of the library tokenizers.
    """
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer, eos_token=sorted(eos_token_ids))
    except ValueError as error:
        raise EngineError(f"the tokenizer in {tokenizer.name_or_path} cannot follow a JSON schema: {error}") from None


def schema_matcher(schema: dict[str, Any], tokens: Any) -> SchemaMatcher:
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
    walk = SchemaMatcher(matcher, tokens)
    walk.allowed()  # what is endless from the first token on is refused here
    return walk


def _reason(matcher: Any) -> str:
    return " ".join(matcher.get_error().removesuffix("<non-verbose/>").split())
