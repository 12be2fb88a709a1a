"""A search for a better prompt on dev, and the best one as a prompt file: artifacts/optimise/<checkpoint>.

python -m pipelines.optimise [<checkpoint>] [setting=value ...] [--write] [--restart]
"""

import argparse

from whether import entry
from whether.config import BASE, load
from whether.optimise.best import write_prompt
from whether.optimise.optimise import optimise
from whether.records import ARTIFACTS, OptimiseRecord, read_json


def main(argv: list[str]) -> None:
    """Search, and print the best prompt."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.optimise", description="Search a prompt on dev.")
    parser.add_argument("checkpoint", nargs="?", default=BASE, help="which answers (default: base)")
    parser.add_argument("settings", nargs="*", help="of conf/optimise, such as candidates=96 minutes=30")
    parser.add_argument("--write", action="store_true", help="write conf/prompt/optimised.yaml")
    parser.add_argument("--restart", action="store_true", help="ask everything again")
    given = parser.parse_intermixed_args(argv)
    if "=" in given.checkpoint:
        given.checkpoint, given.settings = BASE, [given.checkpoint, *given.settings]
    config = load(section="optimise", overrides=given.settings)
    folder = optimise(given.checkpoint, config, artifacts=ARTIFACTS, restart=given.restart)
    text = (folder / "best.yaml").read_text(encoding="utf-8")
    print(text)
    record = read_json(folder / "optimise.json", OptimiseRecord)
    if record.difference is not None and record.difference <= 0:
        print(f"{record.by_hand}, written by hand, is as good on dev: nothing to write")
    elif given.write:
        print(f"written to {write_prompt(given.checkpoint, text)}")
    else:
        print(f"copy {folder}/best.yaml to conf/prompt/, or run this with --write")


if __name__ == "__main__":
    entry.run(main)
