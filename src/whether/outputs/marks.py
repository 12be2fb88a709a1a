"""Signs around words that say nothing about an answer: Markdown, HTML, invisible characters, punctuation of scripts."""

import re
import unicodedata
from functools import cache

_PUNCTUATION = {
    **dict.fromkeys("。．｡।።։។၊။·", ". "), **dict.fromkeys("，、､،", ", "), **dict.fromkeys("：﹕", ": "),
    **dict.fromkeys("；؛", "; "), **dict.fromkeys("！﹗", "! "), **dict.fromkeys("？؟﹖", "? "), "…": "... ",
    **dict.fromkeys("“”„‟«»「」『』〝〞＂", '"'), **dict.fromkeys("‘’‚‛‹›＇´", "'"),
    **dict.fromkeys("（﹙", "("), **dict.fromkeys("）﹚", ")"), **dict.fromkeys("【［〔《〈", "["),
    **dict.fromkeys("】］〕》〉", "]"), **dict.fromkeys("‐‑‒−－", "-"), "―": "—",
}  # fmt: skip
_TO_ASCII = str.maketrans(_PUNCTUATION)
_FENCE_LINE = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*$\n?", re.MULTILINE)
_INLINE_HTML = re.compile(r"</?(?:b|strong|i|em|u|code|mark|span|p|div)>|<br ?/?>", re.IGNORECASE)
_ESCAPE = re.compile(r"\\([_*#.\-()\[\]!`~>+])")
_EMPHASIS = re.compile(r"(?<![\w*])(\*|_{1,3})(?=[^\s*_])([^\n*]*?[^\s*_\n])\1(?![\w*])")
_BOXED = re.compile(r"\$?\\boxed\{(?:\\text\{)?([^{}\n]*)\}?\}\$?")
_LINE_MARK = re.compile(
    r"\A\s*(?:#{1,6}\s+|>\s*|(?:[-–—*+•▪◦●‣]|\d{1,2}[.)]|\(?[A-Za-z][.)])\s+|[👉➡]\ufe0f?\s*|(?:→|[-=]>)\s*)"
)


def ascii_punctuation(text: str) -> str:
    """Return a text with typographic quotes and the punctuation of other scripts as in ASCII."""
    return text if text.isascii() else text.translate(_TO_ASCII)


def without_markup(text: str) -> str:
    """Return a text without Markdown, simple HTML, fences and characters that cannot be seen.

    What is struck out (`~~`, `<s>`, `<del>`) stays as it is: it is not the answer.
    """
    if not text.isascii():
        text = "".join(one for one in text if one.isascii() or not _says_nothing(one))
    if "`" in text or "~~~" in text:
        text = _FENCE_LINE.sub("", text).replace("`", "")
    if "<" in text:
        text = _INLINE_HTML.sub(" ", text)
    if "\\" in text:
        text = _ESCAPE.sub(r"\1", _BOXED.sub(r"\1", text))
    text = text.replace("**", "")
    return _EMPHASIS.sub(r"\2", text) if "*" in text or "_" in text else text


def without_line_mark(line: str) -> str:
    """Return a line without a mark of a heading, a quotation or a list before it."""
    found = _LINE_MARK.match(line)
    return line[found.end() :] if found else line


@cache
def _says_nothing(one: str) -> bool:
    """Return whether a character cannot be seen, or ticks what stands next to it."""
    return unicodedata.category(one) == "Cf" or one in "✅✔☑\ufe0f"
