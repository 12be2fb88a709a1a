"""The records under artifacts/ in MLflow, each once: artifacts/publish/receipt.json.

As a stage of the pipeline, no trouble with MLflow fails the run: it costs a warning and a later sync. Run by hand,
`python -m pipelines.publish` is that sync; settings that can never work are then an error.
"""

import os

from whether import entry
from whether.config import load
from whether.records import ARTIFACTS, output_folder, write_json
from whether.tracking.candidates import registered_arms
from whether.tracking.publish import publish


def main(_: list[str]) -> None:
    """Publish what is not there yet."""
    by_hand, config = "DVC_STAGE" not in os.environ, load()
    receipt = publish(config, ARTIFACTS, registered_arms(config, ARTIFACTS), strict=by_hand)
    with output_folder(ARTIFACTS / "publish") as folder:
        write_json(folder / "receipt.json", receipt)


if __name__ == "__main__":
    entry.run(main)
