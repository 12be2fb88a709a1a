"""How one server wants its requests: as the settings say, and as its own refusals have taught.

A request is built in the common form and is kept under it; only what is sent differs. What was learnt is remembered
next to the journal, so that no later stage has to be refused again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from whether.config.served import RequestConfig
from whether.records import read_json, write_json
from whether.served.refusal import Refusal

Body = Mapping[str, Any]
"""A request, as JSON."""

LENGTH, OTHER_LENGTH = "max_tokens", "max_completion_tokens"
ALMOST_GREEDY = 0.01
"""Temperature in place of 0."""
LEFT_OUT = {
    "temperature": "temperature is left out: the server draws answers at its own, so they may differ from run to run",
    "seed": "seed is left out: samples cannot be repeated",
    "stop": "stop is left out: answers are cut here, after they were written and paid",
    "top_p": "top_p is left out, which was 1",
    "stream_options": "stream_options is left out: tokens may not be told",
}
"""Field that can be left out without asking for something else → what that means."""
_UNKNOWN = re.compile(
    r"(not|n't|un)[ -]?(be |yet |currently )?(support|known|recogni|expect|allow|permit|accept|set|available|valid)"
    r"|unsupported|unexpected|unrecogni|unknown|unpermitted|extra |invalid|only|cannot|must|no other|deprecated|remove"
    r"|not (a |an )?(parameter|field)|does not have|has no|incompatible|instead|strictly",
    re.IGNORECASE,
)
_DASHED = r"[A-Za-z]\w*(?:-\w+)+"


@dataclass(frozen=True)
class Dialect:
    """What one server wants otherwise than in the common form."""

    rename: dict[str, str] = field(default_factory=dict)
    """Field → its name there."""
    drop: list[str] = field(default_factory=list)
    """Fields that are not sent."""
    content: Literal["text", "parts"] = "text"
    system: Literal["system", "developer", "user"] = "system"
    stream: bool = False
    least_temperature: float = 0.0
    """Greedy answers are asked for with it, where a server takes no 0."""
    found: list[str] = field(default_factory=list)
    """What the server's own words have changed, a sentence each; the settings are not among them."""

    def sent(self, body: Body) -> dict[str, Any]:
        """Return a request as it goes to the server."""
        fields = dict(body)
        if self.stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        if self.least_temperature and fields.get("temperature") == 0:
            fields["temperature"] = self.least_temperature
        kept = {self.rename.get(name, name): value for name, value in fields.items() if name not in self.drop}
        return kept | {"messages": self._messages(body["messages"])}

    def _messages(self, messages: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
        told = [dict(message) for message in messages]
        if told and told[0]["role"] == "system" and self.system == "developer":
            told[0]["role"] = "developer"
        elif told and told[0]["role"] == "system" and self.system == "user":
            instruction, *told = told
            if told and told[0]["role"] == "user":
                told[0]["content"] = f"{instruction['content']}\n\n{told[0]['content']}"
            else:
                told.insert(0, {"role": "user", "content": instruction["content"]})
        if self.content == "text":
            return told
        return [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in told]


def mended(dialect: Dialect, body: Body, refusal: Refusal, optional: frozenset[str]) -> Dialect | None:
    """Return the dialect that heeds a refusal; None where its words do not say what the server wants.

    `optional` are fields of the body that may be left out. What would ask for something else than was meant, such as
    leaving out `top_k`, is not done without the user's word.
    """
    for rule in (_content, _system, _stream, _length, _temperature):
        found = rule(dialect, body, refusal)
        if found:
            return found
    return _left_out(dialect, body, refusal, optional)


def _content(dialect: Dialect, body: Body, refusal: Refusal) -> Dialect | None:  # noqa: ARG001 - rules are called alike
    wants = re.search(r"content", f"{refusal.param} {refusal.words}", re.I) and re.search(
        r"\bparts?\b|\b(valid |be (a|an) )?(list|array)\b", refusal.words, re.I
    )
    if dialect.content == "parts" or not wants:
        return None
    return _with(dialect, "content goes as a list of parts", content="parts")


def _system(dialect: Dialect, body: Body, refusal: Refusal) -> Dialect | None:
    has_system = bool(body["messages"]) and body["messages"][0]["role"] == "system" and dialect.system != "user"
    names = re.search(
        r"\bsystem\b.{0,30}\b(role|message|prompt|instruction)|\b(role|message)s?\b.{0,60}\bsystem\b"
        r"|developer instruction|roles must alternate",
        refusal.words,
        re.IGNORECASE,
    )
    if not has_system or not names or not re.search(rf"{_UNKNOWN.pattern}|not|alternate|no ", refusal.words, re.I):
        return None
    return _with(dialect, "the instruction goes at the head of the first user message", system="user")


def _stream(dialect: Dialect, body: Body, refusal: Refusal) -> Dialect | None:  # noqa: ARG001
    if dialect.stream or not (refusal.param == "stream" or re.search(r"\bstream(ing|ed)?\b", refusal.words, re.I)):
        return None
    return _with(dialect, "answers come as a stream", stream=True)


def _length(dialect: Dialect, body: Body, refusal: Refusal) -> Dialect | None:
    if LENGTH not in body or LENGTH in dialect.rename:
        return None
    says_other = OTHER_LENGTH in refusal.words
    about_it = LENGTH in refusal.named(frozenset([LENGTH])) and _UNKNOWN.search(refusal.words)
    about_size = re.search(r"too (large|big|high|small|low)|at (most|least)|maximum|minimum|between", refusal.words)
    if not says_other and (not about_it or about_size):
        return None
    return _with(dialect, f"{LENGTH} goes as {OTHER_LENGTH}", rename={**dialect.rename, LENGTH: OTHER_LENGTH})


def _temperature(dialect: Dialect, body: Body, refusal: Refusal) -> Dialect | None:
    if body.get("temperature") != 0 or dialect.least_temperature or "temperature" in dialect.drop:
        return None
    above = re.search(r"strictly positive|(greater|larger|higher|more) than 0|above 0|> ?0|\(0", refusal.words, re.I)
    if not above or "temperature" not in refusal.named(frozenset(["temperature"])):
        return None
    what = f"temperature goes as {ALMOST_GREEDY} in place of 0, so answers may differ from run to run"
    return _with(dialect, what, least_temperature=ALMOST_GREEDY)


def _left_out(dialect: Dialect, body: Body, refusal: Refusal, optional: frozenset[str]) -> Dialect | None:
    if not refusal.param and not _UNKNOWN.search(refusal.words):
        return None
    sent = dialect.sent(body)
    old_names = {new: old for old, new in dialect.rename.items()}
    named = [old_names.get(name, name) for name in refusal.named(frozenset(sent))]
    free = [name for name in named if name in optional or (name in LEFT_OUT and body.get("top_p", 1.0) == 1.0)]
    free += [name for name in named if name in LEFT_OUT and name != "top_p" and name not in free]
    if not free:
        return None
    # Where two exclude each other, such as temperature and top_p, the one goes that changes nothing.
    name = min(free, key=lambda name: (name not in optional, name != "top_p", name))
    what = LEFT_OUT.get(name, f"{name} is left out: answers are not constrained")
    return _with(dialect, what, drop=[*dialect.drop, name])


def _with(dialect: Dialect, what: str, **changes: Any) -> Dialect:
    return replace(dialect, found=[*dialect.found, what], **changes)


def advice(refusal: Refusal, sent: Body) -> str:
    """Return the lines of YAML that answer a refusal that was not mended; empty where it names nothing."""
    named = [name for name in refusal.named(frozenset(sent)) if name not in ("model", "messages", "stream")]
    header = re.search(
        r"header[:\s'\"`]+(?:the\s+)?([A-Za-z][\w-]*-[\w-]+)|([A-Za-z][\w-]*-[\w-]+)['\"`]? header", refusal.words
    )
    missing = re.search(r"(?:missing|required)[^:'\"`]*[:\s]+['\"`]([A-Za-z_]\w*)['\"`]", refusal.words)
    if header:
        line = f"headers: {{{header[1] or header[2]}: ...}}"
    elif named:
        line = f"drop: [{named[0]}]   # or rename: {{{named[0]}: ...}}, or add: {{{named[0]}: ...}}"
    elif missing and missing[1] not in sent:
        line = f"add: {{{missing[1]}: ...}}"
    else:
        return ""
    return f"; in the checkpoint's file, conf/checkpoint/<name>.yaml, below served:\n  request:\n    {line}"


class DialectMemory:
    """The dialect of one served model: that of its settings, with what was learnt from the server."""

    def __init__(self, settings: RequestConfig, file: Path | None):
        """`file` holds what was learnt; None: it is not kept. Raises RecordError for a file that is broken."""
        self._settings, self._file = settings, file
        self._learnt = read_json(file, Dialect) if file and file.exists() else Dialect()

    @property
    def now(self) -> Dialect:
        """How requests are sent."""
        said, learnt = self._settings, self._learnt
        return Dialect(
            rename={**learnt.rename, **said.rename},
            drop=[*dict.fromkeys([*learnt.drop, *said.drop])],
            content=learnt.content if said.content == "auto" else said.content,
            system=learnt.system if said.system == "auto" else said.system,
            stream=learnt.stream if said.stream == "auto" else said.stream,
            least_temperature=learnt.least_temperature,
            found=learnt.found,
        )

    def learn(self, body: Body, refusal: Refusal, optional: frozenset[str]) -> str | None:
        """Heed a refusal, and return what changes; None where nothing can be learnt from it.

        What the settings say is not changed.
        """
        before = self.now
        after = mended(before, body, refusal, optional)
        if after is None:
            return None
        changed = {name for name, value in asdict(after).items() if value != getattr(before, name)}
        learnt = {name: getattr(after, name) for name in changed}
        if "drop" in learnt:
            learnt["drop"] = [name for name in after.drop if name not in self._settings.drop]
        if "rename" in learnt:
            learnt["rename"] = {old: new for old, new in after.rename.items() if old not in self._settings.rename}
        kept = self._learnt
        self._learnt = replace(self._learnt, **learnt)
        if self.now.sent(body) == before.sent(body):  # the settings say otherwise
            self._learnt = kept
            return None
        if self._file:
            write_json(self._file, self._learnt)
        return after.found[-1]
