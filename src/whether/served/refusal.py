"""What a server says where it refuses a request, and whether it speaks of that one text or of how it is asked."""

import re
from typing import Any, NamedTuple

_FILTER = re.compile(
    r"content[ _-]?(filter|policy|management|moderation)|responsible[ _-]?ai|moderat(ed|ion)|flagged|unsafe"
    r"|safety[ _-](system|filter|polic|reason|violation|check)"
    r"|(prompt|input|request|content|text) (was |is |has been )?(blocked|stopped|prohibited)|inappropriate"
    r"|usage polic|data_?inspection",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size|limit)|tokens\b.{0,60}\bcontext|context\b.{0,60}\btokens"
    r"|max_model_len|n_ctx|string_above_max_length"
    r"|(prompt|input|text|messages?|request|sequence)\b.{0,40}\b(is |are )?too (long|large|big|many)"
    r"|too many (input |prompt )?tokens|reduce the length"
    r"|(prompt|input|messages?|sequence)\b.{0,60}\b(exceed|longer than|more than)",
    re.IGNORECASE,
)


class Refusal(NamedTuple):
    """A request that a server refuses: status 400, 403, 413 or 422, in a body of its own form."""

    status: int
    words: str
    """The server's own words, shortened and without secrets."""
    param: str | None = None
    """The field that it names, such as `temperature` or `messages[0].role`."""
    code: str = ""
    """Its names for the fault, such as `context_length_exceeded`."""

    @property
    def is_too_long(self) -> bool:
        """Whether the text is longer than the model's context."""
        return self.is_too_large or bool(_TOO_LONG.search(f"{self.code} {self.words}"))

    @property
    def is_too_large(self) -> bool:
        """Whether this one request is more than the server takes at any time."""
        return self.status == 413 or bool(re.search(r"request (is )?too large", self.words, re.IGNORECASE))

    @property
    def is_filtered_by_code(self) -> bool:
        """Whether its code says that a content filter stopped the text."""
        return bool(_FILTER.search(self.code))

    @property
    def is_filtered(self) -> bool:
        """Whether a content filter stopped the text."""
        return self.is_filtered_by_code or bool(_FILTER.search(self.words))

    def named(self, fields: frozenset[str]) -> list[str]:
        """Return which of a request's fields it speaks of: the one it names, else those in its words."""
        if self.param:
            parts = re.split(r"[.\[\]'\"]+", self.param)
            return [part for part in parts if part in fields][:1]
        return [field for field in sorted(fields) if re.search(rf"(?<![\w-]){re.escape(field)}(?![\w-])", self.words)]


def read_refusal(status: int, document: Any, text: str) -> Refusal:
    """Read OpenAI's {"error": {"message", "param", "code"}}, FastAPI's {"detail"} or plain text."""
    about: dict[str, Any] = {}
    found = document
    while isinstance(found, dict):
        about, key = found, next((key for key in ("error", "detail", "message") if found.get(key)), "")
        found = found.get(key)
    if isinstance(found, list) and found and isinstance(found[0], dict):  # pydantic's list of errors
        where = ".".join(str(part) for part in found[0].get("loc", ()) if part != "body")
        said = "; ".join(f"{one.get('msg', '')} ({'.'.join(map(str, one.get('loc', ())))})" for one in found)
        return Refusal(status, said, where or None, str(found[0].get("type", "")))
    if not isinstance(found, str):
        return Refusal(status, " ".join(text.split()))
    inner = about.get("metadata")
    raw = inner.get("raw") if isinstance(inner, dict) else None  # what the provider behind a router said
    param = about.get("param")
    words = f"{found}: {raw}" if isinstance(raw, str) else found
    return Refusal(status, words, param if isinstance(param, str) and param else None, _codes(about))


def _codes(about: dict[str, Any]) -> str:
    inner = about.get("innererror")
    names = [about.get("code"), about.get("type"), about.get("status")]
    names += [inner.get("code")] if isinstance(inner, dict) else []
    return " ".join(name for name in names if isinstance(name, str))
