"""An arm answers dev and test: artifacts/generate/<checkpoint>-<prompt>.

python -m pipelines.generate <checkpoint> <prompt>
"""

from functools import partial

from whether import entry
from whether.config import ServingConfig, load
from whether.config.backend import with_chosen_backend
from whether.generate.generate import generate
from whether.generate.load import load_checkpoint
from whether.records import ARTIFACTS, CHECKPOINT, output_folder, raced_arms


def main(argv: list[str]) -> None:
    """Run one arm."""
    name, prompt = argv
    config, arm = load(), f"{name}-{prompt}"
    checkpoint = entry.chosen(config.checkpoints, name, "checkpoint")
    entry.chosen(config.prompts, prompt, "prompt")
    # Of a further training run, quality is all that is asked.
    serving = config.serving if checkpoint.repeat_of is None else ServingConfig(requests=2, warmup=0)
    weights = ARTIFACTS / "finetune" / name / CHECKPOINT
    model = with_chosen_backend(config.model, ARTIFACTS)
    loading = partial(load_checkpoint, name, ARTIFACTS / "model", weights, model, checkpoint.served)
    with output_folder(ARTIFACTS / "generate" / arm) as folder:
        requests = ARTIFACTS / "prompt" / prompt / "requests.jsonl"
        lost = prompt in raced_arms(ARTIFACTS, name)
        generate(
            arm, requests, load=loading, serving=serving, folder=folder, max_failed=config.policy.max_failed,
            splits=("calibration", "dev") if lost else None,
        )  # fmt: skip


if __name__ == "__main__":
    entry.run(main, words=("checkpoint", "prompt"))
