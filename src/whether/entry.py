"""How every command starts and ends: quiet libraries, logs on standard error, one clear error and a status."""

import atexit
import gc
import logging
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from whether.errors import UsageError, WhetherError, near_matches
from whether.printing.terminal import message
from whether.records import named_write_errors

logger = logging.getLogger("whether")

MARK_LINES = "WHETHER_MARK_LINES"
"""Environment variable that has what we log begin with `OWN_LINE`, so that `whether run` tells it from what libraries
print."""
OWN_LINE = "\x1e"
"""ASCII's record separator."""


T = TypeVar("T")


def run(main: Callable[[list[str]], int | None], words: Sequence[str] | None = None) -> NoReturn:
    """Call `main` with the command's arguments and exit.

    `words` names the arguments that the command takes, all of them; None: `main` reads what it gets. `--help` then
    prints what the command's file says at its beginning.

    The status is 0 or what `main` returns, that of one of our errors (1, or 2 for a word of the command line), 130
    after Ctrl-C, 143 after SIGTERM, and 141 if nobody reads standard output any more (`whether verdict | head -1`).
    """
    prepare_process()
    atexit.register(gc.freeze)  # at its end Python would go through all objects once more: most of a second
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with named_write_errors(Path.cwd()):
            status = main(sys.argv[1:] if words is None else _checked(sys.argv[1:], words))
            sys.stdout.flush()
    except WhetherError as error:
        print(f"error: {message(error)}", file=sys.stderr)
        sys.exit(error.status)
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        sys.exit(128 + signal.SIGPIPE)
    except (KeyboardInterrupt, TerminatedError) as error:
        word, code = ("terminated", 143) if isinstance(error, TerminatedError) else ("interrupted", 130)
        print(f"{word}: run the same command again to continue", file=sys.stderr)
        sys.exit(code)
    sys.exit(status or 0)


def _checked(argv: list[str], words: Sequence[str]) -> list[str]:
    """Return the arguments of a command that takes just these. Raises UsageError for one too many or too few."""
    command = sys.modules["__main__"]
    if argv and argv[0] in ("-h", "--help"):
        print(command.__doc__)
        raise SystemExit(0)
    if len(argv) != len(words):
        name = command.__spec__.name if command.__spec__ else Path(sys.argv[0]).name
        expected = " ".join(f"<{word}>" for word in words) or "no words"
        missing, surplus = words[len(argv) :], argv[len(words) :]
        wrong = f"<{missing[0]}> is missing" if missing else f"{surplus[0]!r} is one too many"
        raise UsageError(f"python -m {name} takes {expected}: {wrong}")
    return argv


def chosen(known: Mapping[str, T], name: str, what: str) -> T:
    """Return what is known by a name. Raises UsageError for another name, with those that are near."""
    if name not in known:
        raise UsageError(f"the settings in params.yaml have no {what} {name!r}{near_matches(name, known)}")
    return known[name]


class TerminatedError(SystemExit):
    """SIGTERM has come. As a SystemExit it passes event loops and everything that catches an Exception."""


def _terminate(number: int, frame: object) -> NoReturn:  # noqa: ARG001 - Python's signature
    raise TerminatedError(128 + number)


def _reader_has_gone() -> bool:
    """Return whether standard output is a pipe that nobody reads; if so, let what is still to be written vanish."""
    number = sys.stdout.fileno()
    look = select.poll()
    look.register(number, select.POLLOUT)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in look.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return gone


class _SafeFormatter(logging.Formatter):
    """What rows and servers wrote cannot act on the terminal, and no secret is shown."""

    def format(self, record: logging.LogRecord) -> str:
        return message(super().format(record))


class _MarkedFormatter(_SafeFormatter):
    """Marks each line of a message as ours."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(f"{OWN_LINE}{line}" for line in super().format(record).split("\n"))


def prepare_process() -> None:
    """Set up logs, and turn off telemetry and the libraries' chatter, before any of them is imported."""
    quiet = {
        "TOKENIZERS_PARALLELISM": "false",
        # OpenMP's threads spin while they wait. With four processes on two cores the default spins away about two
        # thirds of the forward speed that this setting keeps; two processes, or one alone, hardly differ.
        "GOMP_SPINCOUNT": "10000",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MPLBACKEND": "agg",
    }
    for key, value in quiet.items():
        os.environ.setdefault(key, value)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logger.setLevel(os.environ.get("WHETHER_LOG", "INFO").upper())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MarkedFormatter() if os.environ.get(MARK_LINES) else _SafeFormatter("%(message)s"))
    handler.setLevel(logger.level)  # a logger below may keep more in a file
    logger.handlers = [handler]
    logger.propagate = False
    warnings.filterwarnings("ignore", category=FutureWarning)
