"""What each prompt asks of a model: artifacts/prompt/<prompt>."""

from whether import entry
from whether.config import load
from whether.prompt.requests import read_inputs, write_prompt
from whether.records import ARTIFACTS, output_folder


def main(_: list[str]) -> None:
    """Write the requests of every prompt."""
    config = load()
    inputs = read_inputs(ARTIFACTS / "prepare")
    with output_folder(ARTIFACTS / "prompt") as folder:
        for name, prompt in config.prompts.items():
            write_prompt(
                name, prompt, config.seed, inputs=inputs, robustness=config.robustness, serving=config.serving,
                folder=folder / name, before=ARTIFACTS / "prompt" / name,
            )  # fmt: skip


if __name__ == "__main__":
    entry.run(main, words=())
