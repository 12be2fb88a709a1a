"""What can answer requests, and how requests are put to it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Protocol, runtime_checkable

from whether.errors import EngineError
from whether.records import Decoding, Generation, LabelScores, Message, Request


@runtime_checkable
class LabelScorer(Protocol):
    """A model that knows how likely answers are; a served one does not say."""

    def score_labels(self, chats: Sequence[Sequence[Message]], answers: Sequence[str]) -> list[LabelScores]:
        """Return for each chat how likely each of the answers is, the turn's end included."""
        ...


@runtime_checkable
class PrefixKeeper(Protocol):
    """A model on this machine that can keep what a call began with for the next one, as a server does."""

    def keeping_prefix(self) -> AbstractContextManager[None]:
        """Return a context in which calls begin with the tokens that they share with the call before."""
        ...


class ChatModel(Protocol):
    """What answers chats: a model on this machine, one behind an HTTP endpoint, or one in vLLM."""

    def generate(
        self, chats: Sequence[Sequence[Message]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        """Return `decoding.sampling.samples` answers to each chat, in the order of the chats.

        One that the model did not give has the reason in its `error`. Raises EngineError for what this kind of model
        cannot do, before the first chat is sent.
        """
        ...


def answer_call(
    model: ChatModel, requests: Sequence[Request], *, progress: str | None = None
) -> list[list[Generation]]:
    """Return the samples of requests of equal decoding, asked in one call.

    Where given answers are to be scored, the one sample of a request has their scores and no text. Raises EngineError
    for what the model cannot do.
    """
    decoding, chats = requests[0].decoding, [one.messages for one in requests]
    if not decoding.score:
        return model.generate(chats, decoding, progress=progress)
    if not isinstance(model, LabelScorer):
        raise EngineError("label_scores needs a model on this machine: a served one does not tell probabilities")
    return [
        [
            Generation(
                token_ids=None, text="", input_tokens=found.input_tokens, cached_tokens=found.cached_tokens,
                output_tokens=None, seconds=found.seconds, scores=found.scores,
            )
        ]
        for found in model.score_labels(chats, decoding.score)
    ]  # fmt: skip


def calls_of(requests: Sequence[Request]) -> list[list[Request]]:
    """Return requests by call, in order."""
    return [list(group) for _, group in groupby(requests, key=lambda one: one.call)]
