"""What is asked of a model: messages, and how an answer to them is to be made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from whether.errors import EngineError
from whether.records.task import Split


class Message(NamedTuple):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(NamedTuple):
    """How tokens are drawn. The order of the filters is transformers': temperature, top_k, top_p."""

    temperature: float = 0.0
    """Logits are divided by it; 0 is greedy decoding: the most likely token, whatever the other fields say."""
    top_k: int = 0
    """Only so many of the most likely tokens can be drawn; 0: all."""
    top_p: float = 1.0
    """Only the most likely tokens whose probabilities reach this sum can be drawn."""
    seed: int = 0
    """A sample depends on the seed, its prompt and its number among the samples, not on the rest of the batch."""
    samples: int = 1
    """Answers to each prompt, whose prompt is computed once."""


GREEDY = Sampling()


class Choice(NamedTuple):
    """An answer must be one of these texts, in the tokens that the tokenizer spells it with."""

    texts: tuple[str, ...]


class JsonSchema(NamedTuple):
    """An answer must be a JSON document that this schema allows, laid out as `json.dumps` does by default."""

    schema: dict[str, Any]


@dataclass(frozen=True)
class Decoding:
    """How answers are made. Raises EngineError for a setting that is out of range."""

    max_new_tokens: int
    """An answer ends with so many tokens at the latest."""
    stop: Sequence[str] = ()
    """An answer ends before the first of these texts."""
    sampling: Sampling = GREEDY
    constraint: Choice | JsonSchema | None = None
    """What an answer is held to; None: nothing."""
    constraint_required: bool = True
    """Whether a model that cannot keep to the constraint refuses to answer; False: it answers without."""
    score: tuple[str, ...] = ()
    """Answers whose likelihoods are asked for; nothing is written then. Empty: an answer is written."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise EngineError(f"max_new_tokens must be at least 1, and is {self.max_new_tokens}")
        if isinstance(self.stop, str) or "" in self.stop:
            raise EngineError(f"stop must be a list of strings that are not empty, and is {self.stop!r}")
        object.__setattr__(self, "stop", tuple(self.stop))  # equal and hashable, however it was given
        temperature, top_k, top_p, seed, samples = self.sampling
        if not 0 <= temperature < float("inf"):
            raise EngineError(f"temperature must be 0 (greedy) or a positive number, and is {temperature}")
        if top_k < 0:
            raise EngineError(f"top_k must be 0 (all tokens) or a positive number of tokens, and is {top_k}")
        if not 0 < top_p <= 1:
            raise EngineError(f"top_p must be a probability above 0 and at most 1, and is {top_p}")
        if samples < 1:
            raise EngineError(f"samples must be at least 1, and is {samples}")
        if not -(2**63) <= seed < 2**63:
            raise EngineError(f"seed must be a whole number of 64 bits, and is {seed}")

    def cut(self, text: str) -> str:
        """Return the text before the first stop string."""
        return text[: min((text.find(string) for string in self.stop if string in text), default=len(text))]

    def as_json(self) -> dict[str, Any]:
        """Return what differs from greedy decoding without a constraint, as JSON has it."""
        found: dict[str, Any] = {"max_new_tokens": self.max_new_tokens}
        if self.stop:
            found["stop"] = list(self.stop)
        if self.sampling != GREEDY:
            found["sampling"] = self.sampling._asdict()
        if self.constraint is not None:
            found["constraint"] = self.constraint._asdict()
        if not self.constraint_required:
            found["constraint_required"] = False
        if self.score:
            found["score"] = list(self.score)
        return found


RequestSplit = Literal[Split, "calibration"]
"""`calibration`: inputs that say nothing, asked so that a prompt's own bias can be taken off."""
OWN, SAMPLED = "own", "sampled"
"""Variants of formats.jsonl: the arm's own format asked again, and sampled answers in it."""


@dataclass(frozen=True)
class Request:
    """What is asked of a model: a line of requests.jsonl or formats.jsonl. The same settings give the same bytes."""

    id: str
    """`Example.id`."""
    split: RequestSplit
    call: int
    """Requests of one number go to the model in one call."""
    messages: list[Message]
    decoding: Decoding
    variant: str = ""
    """In formats.jsonl the name of the format, `own` or `sampled`."""

    def as_line(self) -> dict[str, Any]:
        """Return the JSON of its line."""
        line = {
            "id": self.id,
            "split": self.split,
            "call": self.call,
            "messages": [message._asdict() for message in self.messages],
            "decoding": self.decoding.as_json(),
        }
        return line | ({"variant": self.variant} if self.variant else {})
