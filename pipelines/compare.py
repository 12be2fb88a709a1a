"""The verdict and its report: artifacts/compare."""

from whether import entry
from whether.compare.compare import compare
from whether.config import load
from whether.records import ARTIFACTS, output_folder


def main(_: list[str]) -> None:
    """Compare every arm and decide."""
    config = load()
    with output_folder(ARTIFACTS / "compare") as folder:
        compare(config, artifacts=ARTIFACTS, folder=folder)


if __name__ == "__main__":
    entry.run(main, words=())
