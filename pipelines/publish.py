"""The records under artifacts/ in MLflow, each once: artifacts/publish/receipt.json.

    python -m pipelines.publish                      what a server that was away has missed
    python -m pipelines.publish --rev v1.2 main~3    of earlier git revisions, from DVC's cache

As a stage of the pipeline, no trouble with MLflow fails the run: it costs a warning and a later sync. Run by hand,
`python -m pipelines.publish` is that sync; settings that can never work are then an error.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from whether import entry
from whether.config import PARAMS, Config, load
from whether.errors import ConfigError, TrackingError
from whether.past import records_at_revision
from whether.records import ARTIFACTS, output_folder, write_json
from whether.tracking.publish import publish


def main(argv: list[str]) -> None:
    """Publish what is not there yet."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.publish", description="Bring MLflow up to date.")
    parser.add_argument("--rev", nargs="+", default=[], help="git revisions whose records are in DVC's cache")
    given = parser.parse_args(argv)
    config = load()
    if given.rev and not config.tracking.enabled:
        raise ConfigError("tracking.enabled is false: choose tracking=local or tracking=server")
    for revision in given.rev:
        publish_revision(revision, config)
    if given.rev:
        return
    by_hand = "DVC_STAGE" not in os.environ
    receipt = publish(config, ARTIFACTS, strict=by_hand)
    with output_folder(ARTIFACTS / "publish") as folder:
        write_json(folder / "receipt.json", receipt)


def publish_revision(revision: str, config: Config) -> None:
    """Show an earlier revision's records where today's settings say, and say where. Aliases stay as they are."""
    with tempfile.TemporaryDirectory() as name:
        folder = records_at_revision(revision, Path(name) / "records")
        try:
            then = load(folder / PARAMS)
        except ConfigError as error:
            raise ConfigError(
                f"the settings of {revision} are not those of this version of whether: publish them with that revision"
                f" checked out ({error})"
            ) from error
        receipt = publish(replace(then, tracking=config.tracking), folder / ARTIFACTS, root=Path.cwd(), latest=False)
    if receipt.pending:
        raise TrackingError(f"{revision} is not in MLflow: {receipt.reason}")
    print(f"{revision}: {len(receipt.runs)} runs, {receipt.url or receipt.parent_run_id}")


if __name__ == "__main__":
    entry.run(main)
