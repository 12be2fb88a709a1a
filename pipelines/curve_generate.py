"""A point of the learning curve answers dev and test: artifacts/curve/generate/<labels>-<seed>.

python -m pipelines.curve_generate <labels> <seed>
"""

from whether import entry
from whether.config import BASE, load
from whether.config.backend import with_chosen_backend
from whether.generate.generate import generate_point
from whether.generate.load import LoadedCheckpoint, load_checkpoint
from whether.records import ARTIFACTS, CHECKPOINT, output_folder


def main(argv: list[str]) -> None:
    """Answer with the point's checkpoint, and with base for prompts that draw from the point's labels."""
    labels, seed = argv
    config, curve, point = load(), ARTIFACTS / "curve", f"{labels}-{seed}"
    entry.chosen({str(one): one for one in config.curve.labels}, labels, "value of curve.labels")
    entry.chosen({str(one): one for one in config.curve.seeds}, seed, "value of curve.seeds")

    def loaded(tuned: bool) -> LoadedCheckpoint:
        weights = curve / "checkpoint" / point / CHECKPOINT if tuned else None
        return load_checkpoint(BASE, ARTIFACTS / "model", weights, with_chosen_backend(config.model, ARTIFACTS), None)

    with output_folder(curve / "generate" / point) as folder:
        requests = curve / "data" / point / "requests"
        generate_point(requests, load=loaded, folder=folder, max_failed=config.policy.max_failed)


if __name__ == "__main__":
    entry.run(main, words=("labels", "seed"))
