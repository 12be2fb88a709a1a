"""What no message, log or record shows: passwords in addresses, and the keys that the environment holds."""

import os
import re

_NAMES = re.compile(r"(?i)(?:^|_)(?:key|token|secret|password|passwd|credentials?)$")
"""How the environment variables are called that hold a secret."""
_SHORTEST = 8
"""Characters; a shorter value is more often an ordinary word of the text than the secret."""


def without_credentials(text: str) -> str:
    """Return text with `user:password@` taken out of every address in it, and *** for keys of the environment."""
    text = re.sub(r"(\w://)[^/@\s'\"]+@", r"\1", text)
    for value in _secrets():
        text = text.replace(value, "***")
    return text


def _secrets() -> list[str]:
    """Return the values to hide, the longest first: one may be part of another. Paths are no secrets."""
    found = {value.strip() for name, value in os.environ.items() if _NAMES.search(name)}
    return sorted((one for one in found if len(one) >= _SHORTEST and "/" not in one[:1]), key=len, reverse=True)
