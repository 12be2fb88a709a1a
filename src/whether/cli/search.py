"""`whether search`: a search for better tuner settings on dev: artifacts/search/<checkpoint>."""

from collections.abc import Sequence

from whether.config import load
from whether.errors import EngineError
from whether.printing.terminal import say
from whether.records import ARTIFACTS
from whether.search.best import improved, write_checkpoint
from whether.search.search import search
from whether.tracking.search import publish_search


def search_settings(checkpoint: str, overrides: Sequence[str], *, write: bool, restart: bool) -> None:
    """Search, show the result in MLflow, and print the best settings. `overrides` are of conf/search."""
    config = load(section="search", overrides=overrides)
    folder = search(checkpoint, config, artifacts=ARTIFACTS, restart=restart)
    publish_search(config, checkpoint, ARTIFACTS)
    if not (folder / "best.yaml").exists():
        raise EngineError(f"no trial came to its end: lower the bounds of learning_rate, and see {folder}/trials.jsonl")
    text = (folder / "best.yaml").read_text(encoding="utf-8")
    say(text)
    if not improved(folder):
        print(f"nothing to write: no trial was better than {checkpoint} as it is")
    elif write:
        print(f"written to {write_checkpoint(checkpoint, text)}")
    else:
        print(f"copy {folder}/best.yaml to conf/checkpoint/{checkpoint}_searched.yaml, or run this with --write")
