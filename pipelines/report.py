"""The report of a verdict: artifacts/report."""

from whether import entry
from whether.records import ARTIFACTS, output_folder
from whether.report.report import write_report


def main(_: list[str]) -> None:
    """Draw the pictures and write the page."""
    with output_folder(ARTIFACTS / "report") as folder:
        write_report(ARTIFACTS / "compare", artifacts=ARTIFACTS, folder=folder)


if __name__ == "__main__":
    entry.run(main, words=())
