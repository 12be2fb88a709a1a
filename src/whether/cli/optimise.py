"""`whether optimise`: a search for a better prompt on dev: artifacts/optimise/<checkpoint>."""

from collections.abc import Sequence

from whether.config import BASE, load
from whether.optimise.best import write_prompt
from whether.optimise.optimise import optimise
from whether.printing.terminal import say
from whether.records import ARTIFACTS, OptimiseRecord, read_json


def optimise_prompt(checkpoint: str | None, overrides: Sequence[str], *, write: bool, restart: bool) -> None:
    """Search, and print the best prompt. `overrides` are of conf/optimise; without a checkpoint base answers."""
    checkpoint = checkpoint or BASE
    config = load(section="optimise", overrides=overrides)
    folder = optimise(checkpoint, config, artifacts=ARTIFACTS, restart=restart)
    text = (folder / "best.yaml").read_text(encoding="utf-8")
    say(text)
    record = read_json(folder / "optimise.json", OptimiseRecord)
    if record.difference is not None and record.difference <= 0:
        print(f"{record.by_hand}, written by hand, is as good on dev: nothing to write")
    elif write:
        print(f"written to {write_prompt(checkpoint, text)}")
    else:
        print(f"copy {folder}/best.yaml to conf/prompt/, or run this with --write")
