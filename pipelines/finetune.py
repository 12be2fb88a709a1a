"""A checkpoint from its training set: artifacts/finetune/<checkpoint>.

python -m pipelines.finetune <checkpoint>
"""

from whether import entry
from whether.config import CONF, load, require_packages
from whether.errors import config_errors_in
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
    checkpoint = entry.chosen(config.checkpoints, name, "checkpoint")
    if checkpoint.served:
        with output_folder(ARTIFACTS / "finetune" / name) as records:
            write_served(name, checkpoint.served, config.seed, records)
        return
    if checkpoint.tuner:
        require_packages(config)  # of the stages that follow, too
    file = CONF / "checkpoint" / f"{checkpoint.repeat_of or name}.yaml"
    with config_errors_in(file), only_main(output_folder(ARTIFACTS / "finetune" / name)) as folder:
        finetune(
            name, checkpoint.tuner, config.model, config.seed + checkpoint.run - 1,
            model_folder=ARTIFACTS / "model", training_set=ARTIFACTS / "training_set" / name, folder=folder,
            max_failed=config.policy.max_failed, lines=ARTIFACTS / "prepare" / "lines.jsonl",
        )  # fmt: skip


if __name__ == "__main__":
    entry.run(main, words=("checkpoint",))
