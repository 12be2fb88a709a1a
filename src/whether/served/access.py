"""The headers of every request, and the secrets among them, which come from the environment alone."""

import os
from typing import NamedTuple

from whether.config import ServedConfig
from whether.errors import EngineError


class Access(NamedTuple):
    """Headers that go with every request, and which texts in them no message may show."""

    headers: dict[str, str]
    secrets: tuple[str, ...]

    def mask(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def access_of(config: ServedConfig) -> Access:
    """Return the headers that the settings ask for. Raises EngineError for a variable that does not hold its value."""
    key = _secret(config.api_key_env, "api_key_env")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    named = {
        name: str(_secret(variable, "request.headers_env")) for name, variable in config.request.headers_env.items()
    }
    secrets = (*([key] if key else []), *named.values())
    return Access({**headers, **config.request.headers, **named}, secrets)


def _secret(variable: str | None, setting: str) -> str | None:
    """Return what an environment variable holds, which no message ever shows; EngineError if it holds nothing."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineError(f"the environment variable {variable}, which {setting} names, is not set")
    if not (key.isascii() and key.isprintable()):
        raise EngineError(f"the environment variable {variable} holds characters that no key can have")
    return key
