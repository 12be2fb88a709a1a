"""A language model behind an OpenAI-compatible HTTP API: a hosted one, vLLM, llama.cpp, `transformers serve` ..."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from whether.config import ServedConfig
from whether.errors import EngineError
from whether.records import (
    Choice,
    Decoding,
    Generation,
    JsonSchema,
    Message,
    Sampling,
    ServerRecord,
)
from whether.served.batch import Failure
from whether.served.chat import CUT_IN_THOUGHT, ChatReply, TokenUsage, generation, is_other_model
from whether.served.dialect import Body
from whether.served.endpoint import Endpoint, OptionalFields
from whether.served.http import Reply

logger = logging.getLogger(__name__)

CHAT = "chat/completions"


class Usage(NamedTuple):
    """Tokens that answers took."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    """Of the input, those that the server says it had computed before."""

    def plus(self, input_tokens: int, output_tokens: int, cached_tokens: int) -> "Usage":
        """Return the sum."""
        return Usage(
            self.input_tokens + input_tokens, self.output_tokens + output_tokens, self.cached_tokens + cached_tokens
        )


class ServedModel:
    """A chat model behind an OpenAI-compatible API; see `ServedConfig` for where it is and docs/served.md for a tour.

    Equal requests of one call are sent once. A sample is a request of its own, with a seed that follows from
    `Sampling.seed`, its chat and its number, so that tokens and seconds are known for each; how far a server keeps to
    a seed is its own affair. With a `journal` (a file of JSON lines, see `whether.served.journal`) answers outlive the
    process: the same call sends only what it lacks. It never holds the key.
    """

    def __init__(self, config: ServedConfig, journal: Path | None = None, *, most_failed: int | None = None):
        """Raise EngineError if the environment does not hold the key that `config` names; nothing is sent yet.

        `most_failed` is how many chats of one call may fail before it ends with an EngineError; None: all.
        """
        self.config, self.most_failed = config, most_failed
        self._endpoint = Endpoint(config, journal)
        self._answered_by: dict[str, None] = {}

    def generate(
        self, chats: Sequence[Sequence[Message]], decoding: Decoding, *, progress: str | None = None
    ) -> list[list[Generation]]:
        """Return `decoding.sampling.samples` answers to each chat, in the order of the chats (`ChatModel`).

        `token_ids` is None: the API has none. Samples of greedy decoding are one request. A constraint that is not
        required goes along where the server says that it can keep to it. An answer that the server refuses to this one
        text, such as by a content filter, has the reason in `error` and no text. Raises EngineError for choices that
        are required, before the first chat is sent, where the server does not say that it can keep to them; for an
        answer that does not keep to a required constraint though it was not cut short; for a server that is not there,
        refuses the key or what all requests have in common, or does not know the model; and where more chats fail
        than may.
        """
        sampling, constraint = decoding.sampling, decoding.constraint
        check = _constraint_check(decoding, constraint) if constraint and decoding.constraint_required else None
        each = _requests_a_chat(sampling)
        allowed = None if self.most_failed is None else each * self.most_failed
        outcomes = self._endpoint.post(
            CHAT, self._bodies(chats, decoding), ChatReply, judge=lambda reply: reply.unusable,
            optional=_optional_fields(decoding), check=check, most_failed=allowed, progress=progress,
        )  # fmt: skip
        answers = [
            Generation.failed(outcome.reason) if isinstance(outcome, Failure) else generation(outcome, decoding)
            for outcome in outcomes
        ]
        self._say(outcomes, answers)
        return [answers[start : start + each] * (sampling.samples // each) for start in range(0, len(answers), each)]

    def _say(self, outcomes: Sequence[Reply[ChatReply] | Failure], answers: Sequence[Generation]) -> None:
        """Log what a reader of the numbers has to know of a call."""
        name, count = self.config.model, len(answers)
        replies = [outcome.content for outcome in outcomes if isinstance(outcome, Reply)]
        failed = [answer.error for answer in answers if answer.error]
        if failed:
            logger.warning(
                "%s: %d of %d requests were not answered; the first: %s", name, len(failed), count, failed[0]
            )
        cut = sum(reply.cut_in_thought for reply in replies)
        if cut:
            logger.warning("%s: %d of %d answers were %s", name, cut, count, CUT_IN_THOUGHT)
        told = dict.fromkeys(reply.model for reply in replies if reply.model)
        for other in told.keys() - self._answered_by.keys():
            if is_other_model(name, other):
                logger.warning(
                    "%s says that %s answered, not %s: the numbers are that model's", self._endpoint.url, other, name
                )
        self._answered_by |= told

    @property
    def record(self) -> ServerRecord:
        """How the server was asked, and what it says of itself, so far."""
        dialect = self._endpoint.dialect
        return ServerRecord(
            asked=self.config.model, answered_by=sorted(self._answered_by), learnt=list(dialect.found),
            rename=dialect.rename, drop=dialect.drop, content=dialect.content, system=dialect.system,
            stream=dialect.stream,
        )  # fmt: skip

    def pending_requests(self, chats: Sequence[Sequence[Message]], decoding: Decoding) -> dict[str, list[Message]]:
        """Return the requests that `generate` would send, each once: its key and its chat. None of them is sent."""
        missing = self._endpoint.missing(CHAT, self._bodies(chats, decoding), _optional_fields(decoding))
        return {key: [Message(**message) for message in body["messages"]] for key, body in missing.items()}

    def _bodies(self, chats: Sequence[Sequence[Message]], decoding: Decoding) -> list[Body]:
        required = decoding.constraint if decoding.constraint_required else None
        settings = self._settings(decoding) | self._constraint_fields(required)
        return _chat_bodies(settings, chats, decoding.sampling)

    def usage(self) -> Usage:
        """Return the tokens of all answers that the journal holds. Raises EngineError where a server reports none."""
        total = Usage(0, 0, 0)
        for entry in self._endpoint.kept().values():
            used = TypeAdapter(TokenUsage).validate_python(entry.reply.get("usage") or {})
            if used.prompt_tokens is None or used.written is None:
                raise EngineError(
                    f"the server at {self._endpoint.url} does not report how many tokens an answer took, so its cost"
                    " is not known; if it costs nothing, set its prices to 0"
                )
            total = total.plus(used.prompt_tokens, used.written, used.cached or 0)
        return total

    def _settings(self, decoding: Decoding) -> dict[str, Any]:
        """Return what all requests of a call have in common."""
        sampling, request = decoding.sampling, self.config.request
        length = decoding.max_new_tokens + request.thinking_tokens
        fields: dict[str, Any] = {"model": self.config.model, "max_tokens": length}
        fields["temperature"] = sampling.temperature
        if decoding.stop:
            fields["stop"] = list(decoding.stop)
        if sampling.temperature > 0:
            fields["top_p"] = sampling.top_p
            if sampling.top_k:
                fields["top_k"] = sampling.top_k  # not OpenAI's; vLLM and others know it
        if request.thinking_effort:
            fields["reasoning_effort"] = request.thinking_effort
        return fields | request.add

    def _constraint_fields(self, constraint: Choice | JsonSchema | None) -> dict[str, Any]:
        """Return what asks a server to keep an answer to a constraint; EngineError if it does not say that it can."""
        if isinstance(constraint, JsonSchema):
            return _response_format(constraint)
        if isinstance(constraint, Choice):
            found = _choice_fields(constraint, self._endpoint.request_fields())
            if found:
                return found
            raise EngineError(
                f"the server at {self._endpoint.url} does not say that it can hold an answer to given choices (vLLM's"
                " can): answer without them, or use a JSON schema with an enum"
            )
        return {}


def _optional_fields(decoding: Decoding) -> OptionalFields | None:
    """Return what asks a server, if it can, to keep to a constraint that is not required; None without one."""
    constraint = decoding.constraint
    if constraint is None or decoding.constraint_required:
        return None

    def fields(known: frozenset[str]) -> Body:
        if isinstance(constraint, Choice):
            found = _choice_fields(constraint, known)
        else:
            found = _response_format(constraint) if "response_format" in known else {}
        if not found:
            logger.warning("answers are not constrained: the server does not say that it can keep to a constraint")
        return found

    return OptionalFields(constraint._asdict(), fields)


def _choice_fields(choice: Choice, known: frozenset[str]) -> dict[str, Any]:
    """Return the field for choices among those that a server knows; empty if it has none."""
    if "structured_outputs" in known:  # vLLM since 0.11
        return {"structured_outputs": {"choice": list(choice.texts)}}
    if "guided_choice" in known:  # vLLM before
        return {"guided_choice": list(choice.texts)}
    return {}


def _response_format(constraint: JsonSchema) -> dict[str, Any]:
    wanted = {"name": "answer", "schema": constraint.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


def _requests_a_chat(sampling: Sampling) -> int:
    return 1 if sampling.temperature == 0 else sampling.samples


def _chat_bodies(settings: dict[str, Any], chats: Sequence[Sequence[Message]], sampling: Sampling) -> list[Body]:
    numbers = range(_requests_a_chat(sampling))
    return [_chat_body(settings, chat, sampling, number) for chat in chats for number in numbers]


def _chat_body(settings: dict[str, Any], chat: Sequence[Message], sampling: Sampling, number: int) -> Body:
    messages = [message._asdict() for message in chat]
    seed = {"seed": _seed(sampling.seed, messages, number)} if sampling.temperature > 0 else {}
    return {**settings, **seed, "messages": messages}


def _seed(seed: int, messages: Sequence[dict[str, str]], number: int) -> int:
    """Return a sample's own seed, below 2^31, so that samples of neighbouring seeds are not the same."""
    digest = hashlib.sha256(json.dumps([seed, messages, number]).encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def _constraint_check(decoding: Decoding, constraint: Choice | JsonSchema) -> Callable[[ChatReply], None]:
    """Return a check of answers, since some servers ignore what they do not know."""
    from jsonschema import Draft202012Validator

    def allowed(text: str) -> bool:
        if isinstance(constraint, Choice):
            return text in constraint.texts
        try:
            return Draft202012Validator(constraint.schema).is_valid(json.loads(text))
        except ValueError:
            return False

    def check(reply: ChatReply) -> None:
        text = decoding.cut(reply.text)
        if not reply.ran_out and not allowed(text):
            raise EngineError(
                f"the server did not keep its answer to {type(constraint).__name__}, which was sent along, so it seems"
                f" to ignore such constraints; it wrote {text[:200]!r}"
            )

    return check
