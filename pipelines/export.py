"""A tuned checkpoint as a plain model folder with a model card, for transformers, vLLM, lm-eval and others.

python -m pipelines.export <checkpoint> <folder> [--dtype float32|bfloat16] [--force]
"""

import argparse
from pathlib import Path

from whether import entry
from whether.config import load
from whether.export.export import export
from whether.records import ARTIFACTS


def main(argv: list[str]) -> None:
    """Merge one checkpoint and write the folder."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.export", description="Write a plain model folder.")
    parser.add_argument("checkpoint", help="a tuned checkpoint, such as lora")
    parser.add_argument("folder", type=Path, help="where to: not there yet, or empty")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the weights (default: model.dtype)")
    parser.add_argument("--force", action="store_true", help="replace a model folder that is there")
    given = parser.parse_args(argv)
    export(
        given.checkpoint, load(), artifacts=ARTIFACTS, folder=given.folder, dtype=given.dtype, force=given.force
    )  # fmt: skip


if __name__ == "__main__":
    entry.run(main)
