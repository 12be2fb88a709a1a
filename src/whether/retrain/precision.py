"""The precision of a retraining run: that of the champion, so that the gate compares answers of one precision."""

from dataclasses import replace

import yaml

from whether.config import Config
from whether.retrain.champion import read_champion_bundle


def with_champion_precision(text: str, config: Config) -> tuple[str, Config]:
    """Return params.yaml and settings with the champion's precision in place of `model.dtype: auto`.

    The champion keeps the precision that it was measured in, wherever it answers, so its challengers are made in the
    same, on whichever machine the run is. Nothing changes for a precision that is named, without a champion, and for
    one that is a served model or of another base model.
    """
    bundle = read_champion_bundle(config) if config.model.dtype == "auto" else None
    if bundle is None:
        return text, config
    dtype = bundle.model.dtype
    if bundle.served or bundle.record.model != config.model.name or dtype == "auto":
        return text, config
    values = yaml.safe_load(text)
    values["model"]["dtype"] = dtype
    changed = replace(config, model=replace(config.model, dtype=dtype))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True), changed
