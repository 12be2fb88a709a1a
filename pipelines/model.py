"""The base model as a local folder: artifacts/model."""

from whether import entry
from whether.config import build, load
from whether.records import ARTIFACTS, output_folder


def main(_: list[str]) -> None:
    """Fetch and convert."""
    config = load()
    with output_folder(ARTIFACTS / "model") as folder:
        build(config.model.source, folder, where="model.source")


if __name__ == "__main__":
    entry.run(main)
