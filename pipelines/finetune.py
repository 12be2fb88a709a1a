"""A checkpoint from the training split: artifacts/finetune/<checkpoint>.

python -m pipelines.finetune <checkpoint>
"""

from whether import entry
from whether.config import load
from whether.finetune.finetune import finetune
from whether.finetune.processes import only_main
from whether.finetune.results import write_served
from whether.records import ARTIFACTS, output_folder


def main(argv: list[str]) -> None:
    """Tune one checkpoint; the base, and a served model, are recorded as they are.

    Several processes can share the work (docs/finetuning.md).
    """
    (name,) = argv
    config = load()
    served = config.checkpoints[name].served
    if served:
        with output_folder(ARTIFACTS / "finetune" / name) as folder:
            write_served(name, served, config.seed, folder)
        return
    with only_main(output_folder(ARTIFACTS / "finetune" / name)) as folder:
        finetune(name, config.checkpoints[name].tuner, config.model, config.seed, artifacts=ARTIFACTS, folder=folder)


if __name__ == "__main__":
    entry.run(main)
