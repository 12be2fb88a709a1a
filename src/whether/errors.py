"""What can go wrong, as a tree.

    WhetherError                     everything that this project raises on purpose; the text is for the user
    ├── UsageError                   a word of the command line that is not understood; exit status 2
    ├── ConfigError                  conf/, params.yaml or an override: a typo, a bad value, fields that contradict
    ├── DataError                    a row or a file of examples that cannot be used
    ├── SourceError                  data or weights that cannot be had, or are not what was pinned
    ├── EngineError                  a request that the model cannot answer as asked
    │   └── DivergedError            training whose loss is not a number any more
    ├── RecordError                  a file under artifacts/ that is missing, broken or cannot be written
    ├── TrackingError                MLflow cannot be reached or refuses a record
    └── MissingPackageError          an optional package is not installed; says how to install it

Each message says what is wrong, where (file, line or field), what was expected and what to do. `whether.entry` prints
it without a traceback and exits with the error's status, which is 1 unless the tree above gives another one.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar


class WhetherError(Exception):
    """Base of the errors that a user can act on."""

    status: ClassVar[int] = 1
    """Exit status of a command that ends with this error."""


class UsageError(WhetherError):
    """A word of the command line is not understood."""

    status = 2


class ConfigError(WhetherError):
    """A setting is unknown, out of range or contradicts another."""


class DataError(WhetherError):
    """Examples cannot be read or do not fit the task."""


class SourceError(WhetherError):
    """Data or weights cannot be fetched, or differ from what was pinned."""


class EngineError(WhetherError):
    """A model cannot be loaded or cannot answer a request."""


class DivergedError(EngineError):
    """The loss of a training run is not a number any more."""


class RecordError(WhetherError):
    """A record under artifacts/ is missing, broken or cannot be written."""


class TrackingError(WhetherError):
    """MLflow cannot be reached or refuses a record."""


class MissingPackageError(WhetherError):
    """An optional package is needed and absent."""

    def __init__(self, package: str, extra: str, needed_for: str):
        super().__init__(f"{needed_for} needs the package {package!r}: pip install 'whether[{extra}]'")


@contextmanager
def config_errors_in(file: Path) -> Iterator[None]:
    """Put the file that settings are from in front of a ConfigError about them."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def near_matches(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'a'? Known: a, b" (or "; known: a, b") for a name that is not among those known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(repr(match) for match in close)}? Known: {', '.join(names)}"
    return f"; known: {', '.join(names)}" if names else ""
