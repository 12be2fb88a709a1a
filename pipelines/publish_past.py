"""The records of earlier git revisions in MLflow, each once: python -m pipelines.publish_past v1.2 main~3

They come from DVC's cache (`dvc fetch --all-commits artifacts` gets them from the remote); nothing is checked out.
Aliases of prompts and models stay where they are.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from whether import entry
from whether.config import PARAMS, Config, load, load_earlier
from whether.errors import ConfigError, TrackingError
from whether.records import ARTIFACTS
from whether.repository.revisions import records_at_revision
from whether.tracking.publish import publish


def main(argv: list[str]) -> None:
    """Publish each revision, and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.publish_past", description="Earlier results in MLflow.")
    parser.add_argument("revisions", nargs="+", help="git revisions whose records are in DVC's cache")
    given = parser.parse_args(argv)
    config = load()
    if not config.tracking.enabled:
        raise ConfigError("tracking.enabled is false: choose tracking=local or tracking=server")
    for revision in given.revisions:
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


if __name__ == "__main__":
    entry.run(main)
