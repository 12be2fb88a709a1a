"""A search of tuner settings on dev, and the best ones as a checkpoint: artifacts/search/<checkpoint>.

python -m pipelines.search <checkpoint> [setting=value ...] [--write] [--restart]
"""

import argparse

from whether import entry
from whether.config import load
from whether.errors import EngineError
from whether.records import ARTIFACTS
from whether.search.best import improved, write_checkpoint
from whether.search.search import search
from whether.tracking.search import publish_search


def main(argv: list[str]) -> None:
    """Search, show the result in MLflow, and print the best settings."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.search", description="Search tuner settings on dev.")
    parser.add_argument("checkpoint", help="whose tuner is varied, such as lora")
    parser.add_argument("settings", nargs="*", help="of conf/search, such as trials=40 space.epochs=null")
    parser.add_argument("--write", action="store_true", help="write conf/checkpoint/<checkpoint>_searched.yaml")
    parser.add_argument("--restart", action="store_true", help="forget the trials that are there")
    given = parser.parse_intermixed_args(argv)
    config = load(section="search", overrides=given.settings)
    folder = search(given.checkpoint, config, artifacts=ARTIFACTS, restart=given.restart)
    publish_search(config, given.checkpoint, ARTIFACTS)
    if not (folder / "best.yaml").exists():
        raise EngineError(f"no trial came to its end: lower the bounds of learning_rate, and see {folder}/trials.jsonl")
    text = (folder / "best.yaml").read_text(encoding="utf-8")
    print(text)
    if not improved(folder):
        print(f"nothing to write: no trial was better than {given.checkpoint} as it is")
    elif given.write:
        print(f"written to {write_checkpoint(given.checkpoint, text)}")
    else:
        print(f"copy {folder}/best.yaml to conf/checkpoint/{given.checkpoint}_searched.yaml, or run this with --write")


if __name__ == "__main__":
    entry.run(main)
