"""The verbs of `whether`, and reading a command line without doing what it says."""

from collections.abc import Iterator, Sequence
from typing import Any

from typer.main import get_command

from whether.cli.app import app


def verbs() -> Iterator[tuple[str, ...]]:
    """Yield the words of each command, groups among them: (), ("run",), ("retrain", "run")."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    while waiting:
        words, command = waiting.pop(0)
        yield words
        waiting += [((*words, name), verb) for name, verb in getattr(command, "commands", {}).items()]


def read(words: Sequence[str]) -> dict[str, Any]:
    """Return what a command line says, by the names of the verb's parameters. Raises UsageError."""
    command: Any = get_command(app)
    names, waiting = ["whether"], list(words)
    while waiting and waiting[0] in getattr(command, "commands", {}):
        names.append(waiting.pop(0))
        command = command.commands[names[-1]]
    found: dict[str, Any] = command.make_context(" ".join(names), waiting).params
    return found
