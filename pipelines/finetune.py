"""A checkpoint from the training split: artifacts/finetune/<checkpoint>.

python -m pipelines.finetune <checkpoint>
"""

from collections.abc import Sequence

from whether import entry
from whether.chat.messages import TrainingFormat
from whether.config import load
from whether.finetune.data import plain_format
from whether.finetune.finetune import finetune
from whether.finetune.processes import only_main
from whether.finetune.results import write_served
from whether.prompt.training import training_format
from whether.records import ARTIFACTS, Example, Task, output_folder


def main(argv: list[str]) -> None:
    """Tune one checkpoint; the base, and a served model, are recorded as they are.

    Several processes can share the work (docs/finetuning.md).
    """
    (name,) = argv
    config = load()
    served = config.checkpoints[name].served
    if served:
        with output_folder(ARTIFACTS / "finetune" / name) as records:
            write_served(name, served, config.seed, records)
        return
    tuner, seed = config.checkpoints[name].tuner, config.seed + config.checkpoints[name].run - 1
    prompt = tuner and tuner.prompt

    def learnt(task: Task, pool: Sequence[Example]) -> TrainingFormat:
        where = f"checkpoints.{name}.tuner.prompt"
        return training_format(prompt, task, pool, config.seed, where) if prompt else plain_format(task)

    with only_main(output_folder(ARTIFACTS / "finetune" / name)) as folder:
        finetune(name, tuner, config.model, seed, artifacts=ARTIFACTS, folder=folder, learnt=learnt)


if __name__ == "__main__":
    entry.run(main)
