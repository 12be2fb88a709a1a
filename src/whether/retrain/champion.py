"""The champion that a retraining run begins with."""

from pathlib import Path

from whether.bundle.bundle import Bundle, load_bundle
from whether.bundle.champion import read_champion_or_none
from whether.config import Config
from whether.errors import RecordError


def read_champion_bundle(config: Config) -> Bundle | None:
    """Return the champion's bundle; None without a champion, and for a broken one, which the run itself reports."""
    folder = Path(config.retrain.folder)
    champion = read_champion_or_none(folder)
    if champion is None:
        return None
    try:
        return load_bundle(folder / "bundles" / champion.champion)
    except RecordError:
        return None
