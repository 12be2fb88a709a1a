"""What each checkpoint is tuned on: artifacts/training_set/<checkpoint>."""

from whether import entry
from whether.config import load
from whether.prompt.training import write_training_set
from whether.records import ARTIFACTS, output_folder


def main(_: list[str]) -> None:
    """Write the training set of every checkpoint."""
    config = load()
    with output_folder(ARTIFACTS / "training_set") as folder:
        for name, checkpoint in config.checkpoints.items():
            write_training_set(
                name, checkpoint.tuner, config.seed, prepared=ARTIFACTS / "prepare", folder=folder / name
            )


if __name__ == "__main__":
    entry.run(main, words=())
