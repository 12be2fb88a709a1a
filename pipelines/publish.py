"""The records under artifacts/ in MLflow, each once: artifacts/publish/receipt.json.

No trouble with MLflow fails the run: it costs a warning, and `whether publish` sends later what is missing.
"""

from whether import entry
from whether.config import load
from whether.records import ARTIFACTS, output_folder, write_json
from whether.tracking.candidates import registered_arms
from whether.tracking.publish import publish


def main(_: list[str]) -> None:
    """Publish what is not there yet."""
    config = load()
    receipt = publish(config, ARTIFACTS, registered_arms(config, ARTIFACTS), strict=False)
    with output_folder(ARTIFACTS / "publish") as folder:
        write_json(folder / "receipt.json", receipt)


if __name__ == "__main__":
    entry.run(main, words=())
