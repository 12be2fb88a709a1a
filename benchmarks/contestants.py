"""Sides of a benchmark as processes: each works only when it is asked, so sides can take turns on one machine."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any


class SideError(RuntimeError):
    """A side has ended; the message is the end of what it said."""


class Side:
    """A process that answers each line that it is sent with a line of JSON."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None):
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | (environment or {}),
        )  # fmt: skip

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *details: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, word: str) -> dict[str, Any]:
        """Send a line and return the answer. Raises SideError where the side has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next answer; what else the side prints is passed over."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                with suppress(json.JSONDecodeError):  # half a line, where the side was killed
                    found: dict[str, Any] = json.loads(line)
                    return found
        said = self._process.communicate()[1].strip()[-2000:]
        raise SideError(f"{self.name} ended with status {self._process.returncode}: {said}")


def serve(work: Any) -> None:
    """Answer the lines of standard input with what `work(line)` returns, until there is none."""
    for line in sys.stdin:
        print(json.dumps(work(line.strip())), flush=True)
