"""What of an answer to /chat/completions is used, and what it means."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from pydantic import AliasChoices, BeforeValidator, Field

from whether.records import Decoding, Generation
from whether.served.http import Reply

_THOUGHT_BEGINS, _THOUGHT_ENDS = "<think>", "</think>"
_RAN_OUT = ("length", "max_tokens", "max_output_tokens")
_FILTERED = ("content_filter", "safety", "recitation", "prohibited_content", "sensitive", "blocklist")
"""What servers call the end of an answer, in lower case."""


def _joined(value: Any) -> Any:
    """Return a content's text, where it is a part or a list of parts; the parts of a thought are left out."""
    if not isinstance(value, (list, dict)):
        return value
    parts = [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, dict)]
    said = [part.get("text") for part in parts if not re.search("think|reason", str(part.get("type")))]
    return "".join(text for text in said if isinstance(text, str))


def _called(value: Any) -> Any:
    """Return the names of the tools that an answer calls: in a list, or one by itself as servers once had it."""
    calls = value if isinstance(value, list) else [value] if isinstance(value, dict) else []
    named = [one.get("function", one) if isinstance(one, dict) else one for one in calls]
    return [str(one.get("name")) if isinstance(one, dict) else str(one) for one in named]


@dataclass(frozen=True)
class PromptDetails:
    """What of the input is known."""

    cached_tokens: int | None = None


@dataclass(frozen=True)
class CompletionDetails:
    """What of the output is known."""

    reasoning_tokens: int | None = None


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of one answer, as the server counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    @property
    def written(self) -> int | None:
        """All that was written and is paid, thinking included: some servers count that in the total alone."""
        if self.completion_tokens is None:
            return None
        if self.prompt_tokens is None or self.total_tokens is None:
            return self.completion_tokens
        return max(self.completion_tokens, self.total_tokens - self.prompt_tokens)

    @property
    def cached(self) -> int | None:
        """Of the input, what the server had computed before."""
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None

    @property
    def thinking(self) -> int | None:
        """Of what was written, thinking; None where the server does not say."""
        return self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else None


@dataclass(frozen=True)
class ChatMessage:
    """What the model wrote."""

    content: Annotated[str | None, BeforeValidator(_joined)] = None
    """None where the model wrote nothing but its thinking, called a tool, or refused."""
    thinking: Annotated[
        str | None,
        BeforeValidator(lambda value: value if isinstance(value, str) else None),
        Field(validation_alias=AliasChoices("thinking", "reasoning_content", "reasoning")),
    ] = None
    """What it wrote before its answer, apart from it."""
    refusal: str | None = None
    """Why the model does not answer, in its own words."""
    tool_calls: Annotated[
        list[str], BeforeValidator(_called), Field(validation_alias=AliasChoices("tool_calls", "function_call"))
    ] = field(default_factory=list)
    """Names of the tools that it calls."""


@dataclass(frozen=True)
class ChatChoice:
    """One answer."""

    message: ChatMessage
    finish_reason: str | None = None


class Unusable(NamedTuple):
    """Why an answer that came says nothing of what the model knows."""

    reason: str
    by_row: bool = False
    """Whether it is for sure the one text that was asked, and not how all are asked."""
    failed: bool = True
    """Whether it counts as not answered; False: as an answer, a wrong one."""


CUT_IN_THOUGHT = (
    "cut off while the model was thinking (finish_reason length, and no answer): raise request.thinking_tokens in the"
    " checkpoint's file or the prompt's max_new_tokens, or ask for less thinking with request.thinking_effort"
)


@dataclass(frozen=True)
class ChatReply:
    """What of an answer is used."""

    choices: Annotated[list[ChatChoice], Field(min_length=1)]
    usage: TokenUsage | None = None
    model: str | None = None
    """Which model wrote it, as the server says."""

    @property
    def text(self) -> str:
        """What the model wrote."""
        message = self.choices[0].message
        return message.content or message.refusal or ""

    @property
    def ran_out(self) -> bool:
        """Whether the answer ended because it had reached its most tokens."""
        return self._end in _RAN_OUT

    @property
    def _end(self) -> str:
        return (self.choices[0].finish_reason or "").lower()

    @property
    def cut_in_thought(self) -> bool:
        """Whether all its tokens went into thinking, so that there is no answer."""
        text, message = self.text.lstrip(), self.choices[0].message
        inside = text.startswith(_THOUGHT_BEGINS) and _THOUGHT_ENDS not in text
        usage = self.usage.thinking if self.usage else None
        return self.ran_out and (inside or (not text and bool(message.thinking or usage)))

    @property
    def unusable(self) -> Unusable | None:
        """What is wrong with it as an answer; None for one that can be read, be it right or wrong."""
        choice = self.choices[0]
        if self.cut_in_thought:
            return Unusable(CUT_IN_THOUGHT, failed=False)
        if self._end == "error" and not self.text.strip():
            return Unusable("the server could not finish the answer (finish_reason error)")
        if self._end in _FILTERED:
            said = f"the server's content filter ended the answer (finish_reason {choice.finish_reason})"
            return Unusable(said, by_row=True)
        if choice.message.tool_calls and not self.text.strip():
            return Unusable(
                f"the server answers with a call of the tool {choice.message.tool_calls[0]}, though none was offered:"
                " set request: {add: {tool_choice: none}} in the checkpoint's file"
            )
        return None


def generation(reply: Reply[ChatReply], decoding: Decoding) -> Generation:
    """Return a reply as a generation; one that is not usable has its reason in `error`."""
    content = reply.content
    usage, unusable = content.usage or TokenUsage(), content.unusable
    error = unusable.reason if unusable and unusable.failed else None
    return Generation(
        token_ids=None,
        text="" if error else decoding.cut(content.text),
        input_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached,
        output_tokens=usage.written,
        seconds=reply.seconds,
        finished=not content.ran_out,
        thinking=content.choices[0].message.thinking or "",
        thinking_tokens=usage.thinking,
        error=error,
    )


def is_other_model(asked: str, told: str) -> bool:
    """Return whether the name that a server gives is another model's, and not a longer or shorter form of the asked."""

    def plain(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name.lower())

    names = [(plain(a), plain(b)) for a in (asked, asked.rpartition("/")[2]) for b in (told, told.rpartition("/")[2])]
    return not any(a and b and (a in b or b in a) for a, b in names)
