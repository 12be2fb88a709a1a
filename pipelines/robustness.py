"""An arm answers in other formats, and several times: artifacts/robustness/<checkpoint>-<prompt>.

python -m pipelines.robustness <checkpoint> <prompt>
"""

from functools import partial

from whether import entry
from whether.config import load
from whether.config.backend import with_chosen_backend
from whether.generate.generate import generate_formats
from whether.generate.load import load_checkpoint
from whether.records import ARTIFACTS, CHECKPOINT, output_folder, raced_arms, write_jsonl


def main(argv: list[str]) -> None:
    """Run one arm; of a further training run, and of an arm that lost on dev, this is not measured."""
    name, prompt = argv
    config, arm = load(), f"{name}-{prompt}"
    checkpoint = entry.chosen(config.checkpoints, name, "checkpoint")
    entry.chosen(config.prompts, prompt, "prompt")
    weights = ARTIFACTS / "finetune" / name / CHECKPOINT
    model = with_chosen_backend(config.model, ARTIFACTS)
    loading = partial(load_checkpoint, name, ARTIFACTS / "model", weights, model, checkpoint.served)
    with output_folder(ARTIFACTS / "robustness" / arm) as folder:
        if checkpoint.repeat_of is not None or prompt in raced_arms(ARTIFACTS, name):
            write_jsonl(folder / "generations.jsonl", ())
            return
        generate_formats(arm, ARTIFACTS / "prompt" / prompt / "formats.jsonl", load=loading, folder=folder)


if __name__ == "__main__":
    entry.run(main, words=("checkpoint", "prompt"))
