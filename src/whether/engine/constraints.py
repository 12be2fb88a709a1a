"""What an answer may be: a walk tells, token by token, how it may go on.

A constraint is compiled once into a walk at its beginning, and each answer gets a copy. There are two kinds:
`ChoiceWalk` here, and `SchemaWalk` in `whether.engine.json_schema`, which needs an optional package.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from whether.errors import EngineError
from whether.model.tokens import encode_answer
from whether.records import Choices

if TYPE_CHECKING:
    import numpy as np


class Forced(NamedTuple):
    """Tokens that must come next, because nothing else may."""

    tokens: list[int]
    is_end: bool
    """Whether nothing may follow them: the answer ends without asking the model."""


class Walk(Protocol):
    """How far an answer has come in what it may be."""

    def forced(self) -> Forced:
        """Return the tokens that must come next, if any; they are not taken yet.

        Raises EngineError where the constraint has become too complex to go on.
        """
        ...

    def allowed(self) -> "np.ndarray":
        """Return the ids [N] of the tokens that may come next, those that end an answer among them where it may end.

        Raises EngineError where the constraint has become too complex to go on.
        """
        ...

    def advance(self, token: int) -> None:
        """Take an allowed token that does not end the answer."""
        ...

    def copy(self) -> "Walk":
        """Return a walk that has come as far and goes on alone."""
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


class ChoiceWalk:
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

    def copy(self) -> "ChoiceWalk":
        """Return a walk at the same node."""
        return ChoiceWalk(self._node)


def choice_walk(choices: Choices, tokenizer: Any, eos_token_ids: frozenset[int], max_new_tokens: int) -> ChoiceWalk:
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
    return ChoiceWalk(root)
