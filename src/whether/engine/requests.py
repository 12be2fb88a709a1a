"""What is asked of a model and what it answers."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from whether.records import Decoding, Generation, LabelScores, Message


class ScoringRequest(NamedTuple):
    """A continuation to score after a context, both as token ids.

    Where the boundary lies matters: the same tokens with another boundary are another request. An empty context
    means the tokenizer's bos token (eos, if it has none), as in lm-eval.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@runtime_checkable
class LabelScorer(Protocol):
    """A model that tells how likely answers are; a served one does not."""

    def score_labels(self, chats: Sequence[Sequence[Message]], answers: Sequence[str]) -> list[LabelScores]:
        """Return for each chat how likely each of the answers is, the turn's end included."""
        ...


class ChatModel(Protocol):
    """What answers chats: a model on this machine, one behind an HTTP endpoint, or one in vLLM."""

    def generate(
        self, chats: Sequence[Sequence[Message]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        """Return `decoding.sampling.samples` answers to each chat, in the order of the chats.

        Raises EngineError for what this kind of model cannot do, before the first chat is sent.
        """
        ...
