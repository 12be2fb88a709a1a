"""Rows become splits and a profile: artifacts/prepare."""

from whether import entry
from whether.config import load
from whether.prepare.prepare import prepare
from whether.records import ARTIFACTS, output_folder
from whether.repository.tracked import require_committed_data


def main(_: list[str]) -> None:
    """Read, check, clean, split, describe."""
    config = load()
    require_committed_data()
    with output_folder(ARTIFACTS / "prepare") as folder:
        prepare(config.task, config.seed, model_folder=ARTIFACTS / "model", folder=folder)


if __name__ == "__main__":
    entry.run(main, words=())
