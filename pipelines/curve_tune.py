"""A point of the learning curve is tuned: artifacts/curve/checkpoint/<labels>-<seed>.

python -m pipelines.curve_tune <labels> <seed>
"""

from whether import entry
from whether.config import CONF, load, require_packages
from whether.errors import config_errors_in
from whether.finetune.finetune import finetune
from whether.finetune.results import write_base
from whether.records import ARTIFACTS, output_folder


def main(argv: list[str]) -> None:
    """Tune one point; of a point that is not measured, the record of base is written."""
    labels, seed = argv
    config, point = load(), f"{labels}-{seed}"
    entry.chosen({str(one): one for one in config.curve.labels}, labels, "value of curve.labels")
    entry.chosen({str(one): one for one in config.curve.seeds}, seed, "value of curve.seeds")
    require_packages(config)
    data = ARTIFACTS / "curve" / "data" / point
    file = CONF / "checkpoint" / f"{config.curve.checkpoint}.yaml"
    with config_errors_in(file), output_folder(ARTIFACTS / "curve" / "checkpoint" / point) as folder:
        if not (data / "training_set" / "train.jsonl").exists():
            write_base("base", config.model.name, int(seed), folder)
            return
        finetune(
            f"curve@{point}", config.curve.tuner, config.model, int(seed),
            model_folder=ARTIFACTS / "model", training_set=data / "training_set", folder=folder,
            max_failed=config.policy.max_failed, lines=ARTIFACTS / "prepare" / "lines.jsonl",
        )  # fmt: skip


if __name__ == "__main__":
    entry.run(main, words=("labels", "seed"))
