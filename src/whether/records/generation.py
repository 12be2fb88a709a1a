"""What a model answered, and how likely it finds given answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from whether.records.request import Request, RequestSplit


class ContinuationScore(NamedTuple):
    """How likely a continuation is."""

    log_likelihood: float
    """Sum of the natural-log probabilities of the continuation's tokens; 0.0 for an empty continuation."""
    is_greedy: bool
    """Whether every token of the continuation is the most likely one at its place."""
    tokens: int
    """Tokens of the continuation."""


class Generation(NamedTuple):
    """What a model wrote after one prompt."""

    token_ids: list[int] | None
    """The new tokens, those of a stop string included, without the token that ended the sequence; None: not known."""
    text: str
    """The new tokens decoded without special tokens, up to the first stop string."""
    input_tokens: int | None
    """Tokens of the prompt; None where a server does not report them."""
    cached_tokens: int | None
    """Of these, how many other answers of the same call follow too, so that they were computed once for all (the last
    few of them more often, where that is cheaper than a pass of their own). From a server: how many it says that it had
    computed before; None where it does not report it."""
    output_tokens: int | None
    """New tokens, as a server counts them or those of `token_ids`; None where it reports none."""
    seconds: float
    """This answer's equal share of the wall time of the batch that it was written in. From a server: the time from
    sending its request to the answer's last byte, without attempts that failed and the waits after them."""
    finished: bool = True
    """Whether it ended by itself, by a stop string or by its constraint; False: it was cut at the most new tokens."""
    scores: list[ContinuationScore] | None = None
    """How likely each answer of `Decoding.score` is; None where an answer was written."""
    thinking: str = ""
    """What a served model wrote before its answer, where the server keeps it apart."""
    thinking_tokens: int | None = None
    """Of `output_tokens`, those of thinking; None where a server does not report them."""
    error: str | None = None
    """Why there is no answer, such as a content filter; then there is no text, and tokens only where some were paid."""

    @classmethod
    def failed(cls, reason: str) -> "Generation":
        """Return what stands in the place of an answer that was not given."""
        return cls(None, "", input_tokens=None, cached_tokens=None, output_tokens=None, seconds=0.0, error=reason)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it; what only some served models have is left out of the others'."""
        scores = None if self.scores is None else [score._asdict() for score in self.scores]
        rare = ("thinking", "thinking_tokens", "error")
        found = {key: value for key, value in self._asdict().items() if key not in rare or value}
        return found | {"scores": scores}


class LabelScores(NamedTuple):
    """How likely given answers are to one chat."""

    scores: list[ContinuationScore]
    """Of each answer, with the token that ends its turn; a linear probe's tokens are its labels."""
    input_tokens: int
    """Tokens of the prompt."""
    cached_tokens: int
    """Of these, how many were computed once for several chats."""
    seconds: float
    """This chat's equal share of the call's wall time."""


@dataclass(frozen=True)
class Generations:
    """What came back for one request: a line of generations.jsonl, in the order of the requests."""

    id: str
    """`Example.id`."""
    split: RequestSplit
    call: int
    """As in the request."""
    prompt: str
    """As the model got it, chat template included; of a served model its messages."""
    samples: list[Generation] = field(default_factory=list)
    """As many as the request's decoding asks for; where some of several failed, those that came; none where there is
    an error."""
    variant: str = ""
    """As in the request."""
    classifier: bool = False
    """Whether a classifier answered with a label, however the request asked for it."""
    error: str | None = None
    """Why the model could not answer, such as a prompt that is too long, or a server's content filter."""

    @classmethod
    def of(
        cls, request: Request, prompt: str, samples: Sequence[Generation], *, classifier: bool = False
    ) -> "Generations":
        """Return what came back for a request: the samples that were given, or why there is none."""
        given = [sample for sample in samples if not sample.error]
        error = samples[0].error if samples and not given else None
        return cls(
            request.id, request.split, request.call, prompt, given, request.variant, classifier=classifier, error=error
        )

    def as_line(self) -> dict[str, Any]:
        """Return the JSON of its line."""
        line: dict[str, Any] = {"id": self.id, "split": self.split, "call": self.call, "prompt": self.prompt}
        line["samples"] = [sample.as_json() for sample in self.samples]
        extra = {"variant": self.variant, "classifier": self.classifier, "error": self.error}
        return line | {key: value for key, value in extra.items() if value}


@dataclass(frozen=True)
class RequestTime:
    """How long one request took."""

    id: str
    """`Example.id`."""
    seconds: float


@dataclass(frozen=True)
class BuildTimes:
    """How long requests take to be built, one at a time: timing.json."""

    key: str
    """Hash of the requests, of the code that builds them and of how many are timed: what is as before is not timed
    again, so that a further prompt changes the latency of no other."""
    requests: list[RequestTime]


@dataclass(frozen=True)
class Latency:
    """Requests sent to a checkpoint one at a time: latency.json."""

    requests: list[RequestTime] = field(default_factory=list)
    """In order; empty for a served model, of which each request is timed when it is asked."""
    peak_memory: int | None = None
    """Bytes of memory of the process; None for a served model."""
