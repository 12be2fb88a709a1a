"""What is asked of a model and what it answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from whether.engine.chat import Message


class Request(NamedTuple):
    """A continuation to score after a context, both as token ids.

    Where the boundary lies matters: the same tokens with another boundary are another request. An empty context
    means the tokenizer's bos token (eos, if it has none), as in lm-eval.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]


class Score(NamedTuple):
    """How likely a continuation is."""

    log_likelihood: float
    """Sum of the natural-log probabilities of the continuation's tokens; 0.0 for an empty continuation."""
    is_greedy: bool
    """Whether every token of the continuation is the most likely one at its place."""
    tokens: int
    """Tokens of the continuation."""


class Sampling(NamedTuple):
    """How tokens are drawn. The order of the filters is transformers': temperature, top_k, top_p."""

    temperature: float = 0.0
    """Logits are divided by it; 0 is greedy decoding: the most likely token, whatever the other fields say."""
    top_k: int = 0
    """Only so many of the most likely tokens can be drawn; 0: all."""
    top_p: float = 1.0
    """Only the most likely tokens whose probabilities reach this sum can be drawn."""
    seed: int = 0
    """A sample depends on the seed, its prompt and its number among the samples, and not on what is beside it."""
    samples: int = 1
    """Answers to each prompt, whose prompt is computed once."""


GREEDY = Sampling()


class Choices(NamedTuple):
    """An answer must be one of these texts, in the tokens that the tokenizer spells it with."""

    texts: tuple[str, ...]


class JsonSchema(NamedTuple):
    """An answer must be a JSON document that this schema allows, laid out as `json.dumps` does by default."""

    schema: dict[str, Any]


class Generation(NamedTuple):
    """What a model wrote after one prompt."""

    token_ids: list[int] | None
    """The new tokens, those of a stop string included, without the token that ended the sequence; None: not told."""
    text: str
    """The new tokens decoded without special tokens, up to the first stop string."""
    input_tokens: int | None
    """Tokens of the prompt; None where a server does not tell."""
    cached_tokens: int | None
    """Of these, how many other answers of the same call follow too, so that they were computed once for all (the last
    few of them more often, where that is cheaper than a pass of their own). From a server: how many it says that it had
    computed before; None where it does not tell."""
    output_tokens: int | None
    """New tokens, as a server counts them or those of `token_ids`; None where a server does not tell."""
    seconds: float
    """This answer's equal share of the wall time of the batch that it was written in. From a server: the time from
    sending its request to the answer's last byte, without attempts that failed and the waits after them."""
    finished: bool = True
    """Whether it ended by itself, by a stop string or by its constraint; False: it was cut at the most new tokens."""


class Judgement(NamedTuple):
    """How likely given answers are to one chat."""

    scores: list[Score]
    """Of each answer, with the token that ends its turn; a linear probe's tokens are its labels."""
    input_tokens: int
    """Tokens of the prompt."""
    cached_tokens: int
    """Of these, how many were computed once for several chats."""
    seconds: float
    """This chat's equal share of the call's wall time."""


@runtime_checkable
class Judge(Protocol):
    """A model that tells how likely answers are; a served one does not."""

    def judge(self, chats: Sequence[Sequence[Message]], answers: Sequence[str]) -> list[Judgement]:
        """Return for each chat how likely each of the answers is, the turn's end included."""
        ...


class ChatModel(Protocol):
    """What answers chats: a model on this machine, one behind an HTTP endpoint, or one in vLLM."""

    def answer(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        sampling: Sampling = GREEDY,
        constraint: Choices | JsonSchema | None = None,
        progress: str | None = None,
    ) -> list[list[Generation]]:
        """Return `sampling.samples` answers to each chat, in the order of the chats.

        Raises EngineError for what this kind of model cannot do, before the first chat is sent.
        """
        ...
