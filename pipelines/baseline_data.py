"""The rows that baselines are fitted on and asked, as texts: artifacts/baseline/data."""

from whether import entry
from whether.prompt.baselines import write_baseline_rows
from whether.records import ARTIFACTS, output_folder


def main(_: list[str]) -> None:
    """Write the rows of every split."""
    with output_folder(ARTIFACTS / "baseline" / "data") as folder:
        write_baseline_rows(ARTIFACTS / "prepare", folder)


if __name__ == "__main__":
    entry.run(main, words=())
