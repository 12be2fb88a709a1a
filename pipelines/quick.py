"""A first verdict, from the arms alone: artifacts/quick."""

from whether import entry
from whether.compare.compare import first_verdict
from whether.config import load
from whether.records import ARTIFACTS, output_folder


def main(_: list[str]) -> None:
    """Compare every arm on dev and test."""
    with output_folder(ARTIFACTS / "quick") as folder:
        first_verdict(load(), artifacts=ARTIFACTS, folder=folder)


if __name__ == "__main__":
    entry.run(main, words=())
