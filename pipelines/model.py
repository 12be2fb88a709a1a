"""The base model as a local folder: artifacts/model."""

from whether import entry
from whether.config import load
from whether.records import ARTIFACTS, output_folder
from whether.sources.models import make_model


def main(_: list[str]) -> None:
    """Fetch, convert and check."""
    config = load()
    with output_folder(ARTIFACTS / "model") as folder:
        make_model(config.model.source, folder)


if __name__ == "__main__":
    entry.run(main, words=())
