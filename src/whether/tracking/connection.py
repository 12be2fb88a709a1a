"""The way to MLflow: a database or a server, one publication of this machine at a time, and two kinds of error."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from whether.errors import TrackingError
from whether.printing.secrets import without_credentials
from whether.tracking.store import Experiment

logger = logging.getLogger("whether.tracking")

LOCK_SECONDS = 60
"""How long one publication waits for another one on this machine."""


class ServerUnavailable(TrackingError):
    """The tracking server does not answer, or answers that it cannot serve now: worth another try later."""


@contextmanager
def open_experiment(uri: str, name: str, root: Path) -> Iterator[Experiment]:
    """Yield the experiment of that name, made if it is new, with no other publication of this machine at work on it.

    A relative `sqlite:///` path counts from `root`, the repository. Raises ServerUnavailable or TrackingError.
    """
    from filelock import FileLock, Timeout

    database = _database(uri, root)
    lock = database.with_name(f"{database.name}.lock") if database else root / ".state" / "publish.lock"
    shown = without_credentials(uri)
    with _explained(shown):
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=LOCK_SECONDS):
                client = _client(uri, database)
                yield Experiment(client, _experiment_id(client, name, root if database else None))
        except Timeout:
            raise ServerUnavailable(f"another publication has held {lock} for {LOCK_SECONDS} seconds") from None


def download(uri: str, root: Path, run_id: str, files: Sequence[str], folder: Path) -> Path:
    """Copy artifacts of a run into a folder and return it. Raises TrackingError where one of them is not there."""
    database = _database(uri, root)
    if database and not database.is_file():
        raise TrackingError(f"{database} is not there: nothing was published to it")
    with _explained(without_credentials(uri)):
        client = _client(uri, database)
        for file in files:
            client.download_artifacts(run_id, file, str(folder))
    return folder


def _database(uri: str, root: Path) -> Path | None:
    """Return the file of an embedded database, or None for a server."""
    if uri.startswith("sqlite:///"):
        return root / uri.removeprefix("sqlite:///")
    if re.match(r"https?://[^/]", uri):
        return None
    raise TrackingError(
        f"tracking.uri is {without_credentials(uri)!r}: expected sqlite:///<file> (relative to the repository) or"
        " http(s)://<host>:<port> of an MLflow server"
    )


def _client(uri: str, database: Path | None) -> Any:
    """Return a client that gives up within half a minute and keeps its chatter to itself."""
    # Read by MLflow at each request; who sets them in the environment keeps what was set.
    for key, value in {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for library in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    if database is None:
        return MlflowClient(uri)
    _check_database(database)
    if not database.exists():
        # MLflow's migrations take seconds and cannot be resumed after a kill: they run on a file of another name.
        unfinished = database.with_name(f".{database.name}.new")
        unfinished.unlink(missing_ok=True)
        MlflowClient(f"sqlite:///{unfinished}")
        unfinished.replace(database)
    return MlflowClient(f"sqlite:///{database}")


def _check_database(database: Path) -> None:
    """Refuse early what MLflow would retry for hours."""
    database.parent.mkdir(parents=True, exist_ok=True)
    if not database.exists():
        return
    with database.open("r+b") as stream:
        header = stream.read(16)
    if header not in (b"", b"SQLite format 3\0"):
        raise TrackingError(f"{database} is not an SQLite database: move it away, and it is made again from the files")


def _experiment_id(client: Any, name: str, root: Path | None) -> str:
    """Return the id of an experiment, made if it is new. With a `root`, its artifacts lie in <root>/mlartifacts."""
    location = (root / "mlartifacts").as_uri() if root else None
    found = client.get_experiment_by_name(name)
    if found is None:
        # Without the kind, the UI asks for it in a dialog on the first visit.
        return str(client.create_experiment(name, location, {"mlflow.experimentKind": "custom_model_development"}))
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {name!r} was deleted in MLflow: restore it there, or set tracking.experiment to a new name"
        )
    if location and found.artifact_location != location:
        raise TrackingError(
            f"the experiment {name!r} keeps its artifacts in {found.artifact_location}, and this repository is"
            f" {root}: it was moved or copied. Delete mlflow.db and mlartifacts/ here and run"
            " `whether publish`: the runs are made again from the files"
        )
    return str(found.experiment_id)


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn what the client raises, which is what its transport and its database raise, into our two errors."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # requests, SQLAlchemy and S3 clients have no common base
        logger.debug("what %s raised", uri, exc_info=error)
        status, reason = _status(error), _reason(error)
        if status in (401, 403):
            raise TrackingError(
                f"{uri} refuses this user: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD ({reason})"
            ) from error
        if status is not None and (status >= 500 or status == 429):
            raise ServerUnavailable(f"{uri} does not answer: {reason}") from error
        raise TrackingError(f"{uri} cannot be used: {reason}") from error


def _reason(error: Exception) -> str:
    """Return what went wrong in a line; of a request that was retried, why it failed and not its address."""
    text = without_credentials(str(error)).strip() or repr(error)
    cause = re.search(r"\(Caused by \w+\((.*)\)\)", text)
    return (cause[1].rpartition("): ")[2] if cause else text.splitlines()[0])[:300].strip("\"'")


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error stands for: 503 where there was no answer at all, None if it has none."""
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return int(error.get_http_status_code())
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code
    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return 503
    return None
