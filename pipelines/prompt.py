"""An arm answers dev and test: artifacts/prompt/<checkpoint>-<prompt>.

python -m pipelines.prompt <checkpoint> <prompt>
"""

from whether import entry
from whether.config import ServingConfig, load
from whether.prompt.arm import run_arm
from whether.records import ARTIFACTS, output_folder


def main(argv: list[str]) -> None:
    """Run one arm."""
    checkpoint, prompt = argv
    config = load()
    arm = f"{checkpoint}-{prompt}"
    # Of a further training run, quality is all that is asked.
    is_repeat = config.checkpoints[checkpoint].repeat_of is not None
    with output_folder(ARTIFACTS / "prompt" / arm) as folder:
        run_arm(
            checkpoint,
            config.prompts[prompt],
            config.model,
            ServingConfig(requests=2, warmup=0) if is_repeat else config.serving,
            config.seed,
            name=arm,
            artifacts=ARTIFACTS,
            folder=folder,
            robustness=None if is_repeat else config.robustness,
            served=config.checkpoints[checkpoint].served,
        )


if __name__ == "__main__":
    entry.run(main)
