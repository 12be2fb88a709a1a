"""The text of a file: found by its byte-order mark, else UTF-8, else the encoding that task.source.encoding names.

Bytes that the encoding does not know are kept as halves of characters, which no text holds, so that the line that they
are in is at fault, and no other.
"""

import codecs
import io
import re
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

Opener = Callable[[], BinaryIO]

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16, so it comes first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNDECODED = re.compile("[\udc00-\udcff]")
_CHUNK = 2**20


class Encoding(NamedTuple):
    """How the bytes of a file become text."""

    name: str
    mark: int = 0
    """Bytes of the byte-order mark."""


def _keep_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("whether.undecoded", _keep_bytes)


def find_encoding(head: bytes, setting: str | None, open_file: Opener) -> Encoding:
    """Return the encoding of a file that begins with `head`. With a setting, UTF-8 goes first where all of the file is
    UTF-8 and not only ASCII."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return Encoding(name, len(mark))
    if setting is None or (_is_wide(setting) is False and _is_utf8(open_file)):
        return Encoding("utf-8")
    return Encoding(codecs.lookup(setting).name)


def open_text(open_file: Opener, encoding: Encoding, newline: str = "\n") -> io.TextIOWrapper:
    """Open a file as text whose lines end at `newline` and keep it."""
    stream = open_file()
    stream.read(encoding.mark)
    return io.TextIOWrapper(stream, encoding.name, errors="whether.undecoded", newline=newline)


def decode_head(head: bytes, encoding: Encoding) -> str:
    """Return the text of a file's first bytes, without a character that is cut off at their end."""
    decoder = codecs.getincrementaldecoder(encoding.name)(errors="whether.undecoded")
    return decoder.decode(head[encoding.mark :])


def fault_of(line: str, encoding: str) -> str:
    """Return what is wrong with a line's bytes; empty where they are text."""
    found = None if line.isascii() else _UNDECODED.search(line)
    if found is None:
        return ""
    place = len(line[: found.start()].encode(encoding, "replace")) + 1
    return (
        f"byte {place} is not {encoding.upper()}; save the file as UTF-8, or name its encoding in task.source.encoding"
    )


def shown(line: str) -> str:
    """Return a line as it can be kept: U+FFFD for each byte that is not text."""
    return line if line.isascii() else _UNDECODED.sub("\ufffd", line)


def guess_wide(head: bytes) -> str | None:
    """Return UTF-16 in one of its orders where every other byte of a file without a mark is zero."""
    pairs = len(head) // 2
    if pairs and head[1::2].count(0) > pairs / 2 > 5 * head[::2].count(0):
        return "utf-16-le"
    return "utf-16-be" if pairs and head[::2].count(0) > pairs / 2 > 5 * head[1::2].count(0) else None


def _is_wide(name: str) -> bool:
    """Return whether an encoding takes several bytes for a letter of ASCII."""
    return len("a".encode(name)) > 1


def _is_utf8(open_file: Opener) -> bool:
    """Return whether all of a file is UTF-8, and some of it is not ASCII."""
    decoder, only_ascii = codecs.getincrementaldecoder("utf-8")(), True
    try:
        with open_file() as stream:
            while chunk := stream.read(_CHUNK):
                text = decoder.decode(chunk)
                only_ascii = only_ascii and text.isascii()
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return not only_ascii
