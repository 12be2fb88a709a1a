"""Text in a terminal: what others wrote cannot move the cursor, change colours, hide lines or turn their direction."""

import re
import sys
from typing import TextIO

from whether.printing.secrets import without_credentials

# Control characters but the end of a line and the tab; marks that turn the direction of what follows; halves of
# surrogate pairs, which no stream can write.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return text with each control character as its escape in JSON, such as \u001b; JSON text means the same then."""
    return _ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(text: object = "", *, end: str = "\n", file: TextIO | None = None) -> None:
    """Print what holds text of rows, labels or answers."""
    print(printable(str(text)), end=end, file=file or sys.stdout, flush=True)


def message(text: object) -> str:
    """Return an error or a line of a log as it may be shown: printable, and without secrets."""
    return printable(without_credentials(str(text)))
