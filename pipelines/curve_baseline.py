"""Baselines at the points of the learning curve: artifacts/curve/baseline."""

from whether import entry
from whether.baseline.curve import run_curve
from whether.config import load
from whether.records import ARTIFACTS, output_folder


def main(_: list[str]) -> None:
    """Fit and ask each baseline of the curve at each point."""
    data, points = ARTIFACTS / "baseline" / "data", ARTIFACTS / "curve" / "data"
    with output_folder(ARTIFACTS / "curve" / "baseline") as folder:
        run_curve(load().curve.baselines, data=data, points=points, folder=folder)


if __name__ == "__main__":
    entry.run(main, words=())
