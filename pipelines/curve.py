"""A point of the learning curve, tuned and prompted with so many labels: artifacts/curve/<labels>-<seed>.

python -m pipelines.curve <labels> <seed>
"""

from whether import entry
from whether.config import load
from whether.curve.point import measure_point
from whether.finetune.finetune import finetune
from whether.prompt.arm import run_arm
from whether.records import ARTIFACTS, output_folder


def main(argv: list[str]) -> None:
    """Measure one point: the stages `finetune` and `prompt` on a part of the training split."""
    labels, seed = map(int, argv)
    config = load()
    with output_folder(ARTIFACTS / "curve" / f"{labels}-{seed}") as folder:
        measure_point(
            labels,
            config.curve,
            config.model,
            seed,
            tune=finetune,
            answer=run_arm,
            artifacts=ARTIFACTS,
            folder=folder,
        )


if __name__ == "__main__":
    entry.run(main)
