"""What each point of the learning curve is tuned on and asked: artifacts/curve/data."""

from whether import entry
from whether.config import load
from whether.prompt.curve import write_curve_data
from whether.records import ARTIFACTS, output_folder


def main(_: list[str]) -> None:
    """Write the training set and the requests of every point."""
    with output_folder(ARTIFACTS / "curve" / "data") as folder:
        write_curve_data(load().curve, prepared=ARTIFACTS / "prepare", folder=folder)


if __name__ == "__main__":
    entry.run(main, words=())
