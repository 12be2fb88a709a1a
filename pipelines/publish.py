"""The records under artifacts/ in MLflow, each once: artifacts/publish/receipt.json."""

from whether.tracking import publish

from whether import entry
from whether.config import load
from whether.records import ARTIFACTS, output_folder, write_json


def main(_: list[str]) -> None:
    """Publish; a server that does not answer costs a warning and a later sync, not the run."""
    config = load()
    with output_folder(ARTIFACTS / "publish") as folder:
        write_json(folder / "receipt.json", publish(config, ARTIFACTS))


if __name__ == "__main__":
    entry.run(main)
