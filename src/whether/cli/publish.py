"""`whether publish`: the records of the last run, or of earlier git revisions, in MLflow, each once."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from whether.config import PARAMS, Config, load, load_earlier
from whether.errors import ConfigError, TrackingError
from whether.records import ARTIFACTS, output_folder, write_json
from whether.repository.revisions import records_at_revision
from whether.tracking.candidates import registered_arms
from whether.tracking.publish import publish


def publish_last() -> None:
    """Publish what the last run left under artifacts/ and MLflow does not have yet.

    What the stage `publish` does, with one difference: settings that can never work are an error here.
    """
    config = load()
    receipt = publish(config, ARTIFACTS, registered_arms(config, ARTIFACTS), strict=True)
    with output_folder(ARTIFACTS / "publish") as folder:
        write_json(folder / "receipt.json", receipt)


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
