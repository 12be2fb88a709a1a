"""What a prompt asks of the first dev rows, in the model's chat template; no model runs.

python -m pipelines.preview <prompt> [override ...] [--rows 3]
"""

import argparse

import yaml

from whether import entry
from whether.config import check, compose
from whether.prompt.preview import preview
from whether.records import ARTIFACTS


def main(argv: list[str]) -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.preview", description="Show what a prompt asks.")
    parser.add_argument("prompt", help="a file of conf/prompt, without .yaml")
    parser.add_argument("overrides", nargs="*", help="settings, such as prompts.knn.strategy.examples=4")
    parser.add_argument("--rows", type=int, default=3, help="how many rows of dev (default: 3)")
    given = parser.parse_intermixed_args(argv)
    config = check(yaml.safe_load(compose([f"prompt=[{given.prompt}]", *given.overrides])))
    for text in preview(given.prompt, config.prompts[given.prompt], config.seed, rows=given.rows, artifacts=ARTIFACTS):
        print(text)


if __name__ == "__main__":
    entry.run(main)
