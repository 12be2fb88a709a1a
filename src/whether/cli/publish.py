"""`whether publish`: the records of the last run, or of earlier git revisions, in MLflow, each once."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from whether.config import PARAMS, Config, load, load_earlier
from whether.errors import ConfigError, RecordError, TrackingError
from whether.records import ARTIFACTS, STATE, output_folder, read_json, sha256_file, sha256_json, write_json
from whether.repository.revisions import records_at_revision
from whether.tracking.candidates import registered_arms
from whether.tracking.publish import Receipt, publish


def publish_last() -> None:
    """Publish what the last run left under artifacts/ and MLflow does not have yet.

    What the stage `publish` does, with one difference: settings that can never work are an error here.
    """
    config = load()
    receipt = publish(config, ARTIFACTS, registered_arms(config, ARTIFACTS), strict=True)
    with output_folder(ARTIFACTS / "publish") as folder:
        write_json(folder / "receipt.json", receipt)


@dataclass(frozen=True)
class LastPublication:
    """.state/publication.json: what the last publication to the embedded database read, and what came of it."""

    state: str
    """SHA-256 of records, settings and database, as they were then."""
    receipt: Receipt


def publish_if_changed(config: Config) -> Receipt:
    """Publish after a run, unless records, settings and MLflow's database are as the last time: MLflow takes seconds.

    A server is always asked. What never works is a warning, as in the stage `publish`.
    """
    note = STATE / "publication.json"
    state = _publication_state(config)
    with suppress(RecordError):
        last = read_json(note, LastPublication)
        if last.state == state:
            return last.receipt
    receipt = publish(config, ARTIFACTS, registered_arms(config, ARTIFACTS), strict=False)
    state = _publication_state(config)
    if state and not receipt.pending:
        write_json(note, LastPublication(state, receipt))
    return receipt


def _publication_state(config: Config) -> str | None:
    """Return what a publication depends on as one hash; None where that is not known.

    dvc.lock has the hashes of all records and of the code that publishes; the champion decides where aliases point.
    """
    database = Path(config.tracking.uri.removeprefix("sqlite:///"))
    champion = Path(config.retrain.folder) / "champion.json"
    try:
        status = database.stat()
        hashes = [sha256_file(file) for file in (PARAMS, Path("dvc.lock"), *([champion] if champion.exists() else []))]
    except FileNotFoundError:
        return None
    return sha256_json([*hashes, status.st_ino, status.st_size, status.st_mtime_ns])


def publish_past(revisions: Sequence[str]) -> None:
    """Publish the records of git revisions, and say where each is.

    They come from DVC's cache (`dvc fetch --all-commits artifacts` gets them from the remote); nothing is checked out.
    Aliases of prompts and models stay where they are.
    """
    config = load()
    if not config.tracking.enabled:
        raise ConfigError("tracking.enabled is false: choose tracking=local or tracking=server")
    for revision in revisions:
        publish_revision(revision, config)


def publish_revision(revision: str, config: Config) -> None:
    """Show a revision's records in today's MLflow.

    Settings that were renamed since are read under their old names too; ConfigError for others that do not fit.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = records_at_revision(revision, Path(name) / "records")
        try:
            then = load_earlier(folder / PARAMS)
        except ConfigError as error:
            raise ConfigError(
                f"the settings of {revision} are not those of this version of whether: publish them with that revision"
                f" checked out ({error})"
            ) from error
        then = replace(then, tracking=config.tracking)
        receipt = publish(then, folder / ARTIFACTS, root=Path.cwd(), latest=False)
    if receipt.pending:
        raise TrackingError(f"{revision} is not in MLflow: {receipt.reason}")
    print(f"{revision}: {len(receipt.runs)} runs, {receipt.url or receipt.parent_run_id}")
