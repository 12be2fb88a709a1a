"""A point of the learning curve, tuned and prompted with so many labels: artifacts/curve/<labels>-<seed>.

python -m pipelines.curve <labels> <seed>
"""

from pathlib import Path

from whether import entry
from whether.config import ModelConfig, TunerConfig, load
from whether.curve.point import measure_point
from whether.finetune.finetune import finetune
from whether.prompt.arm import run_arm
from whether.prompt.training import write_training_set
from whether.records import ARTIFACTS, output_folder


def tune(name: str, tuner: TunerConfig | None, model: ModelConfig, seed: int, *, artifacts: Path, folder: Path) -> None:
    """Run the stages `training_set` and `finetune` on a folder laid out like artifacts/."""
    training_set = artifacts / "training_set" / name
    write_training_set(name, tuner, seed, prepared=artifacts / "prepare", folder=training_set)
    finetune(name, tuner, model, seed, model_folder=artifacts / "model", training_set=training_set, folder=folder)


def main(argv: list[str]) -> None:
    """Measure one point: the stages above and `prompt` on a part of the training split."""
    labels, seed = map(int, argv)
    config = load()
    with output_folder(ARTIFACTS / "curve" / f"{labels}-{seed}") as folder:
        measure_point(
            labels, config.curve, config.model, seed, tune=tune, answer=run_arm, artifacts=ARTIFACTS, folder=folder
        )


if __name__ == "__main__":
    entry.run(main)
