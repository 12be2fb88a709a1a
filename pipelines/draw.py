"""The order in which the learning curve adds labelled examples: artifacts/curve/order."""

from whether import entry
from whether.config import load
from whether.curve.draw import curve_data
from whether.records import ARTIFACTS, output_folder


def main(_: list[str]) -> None:
    """Draw one order for each seed."""
    config = load()
    with output_folder(ARTIFACTS / "curve" / "order") as folder:
        curve_data(config.curve.seeds, artifacts=ARTIFACTS, folder=folder)


if __name__ == "__main__":
    entry.run(main)
