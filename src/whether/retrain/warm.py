"""Warm starts: next to the checkpoint that is tuned from scratch, one that continues from the champion's adapter."""

import logging
from dataclasses import asdict, replace
from typing import Any

import yaml

from whether.config import CheckpointConfig, Config, WarmStartConfig
from whether.records import WARM, read_json
from whether.retrain.champion import read_champion_bundle

logger = logging.getLogger(__name__)

ADAPTER = "checkpoint/adapter/adapter_model.safetensors"


def with_warm_start(text: str, config: Config) -> tuple[str, Config]:
    """Return params.yaml and settings with a checkpoint `<name>_warm`, where `retrain.warm_start` asks for it.

    It has the settings of `<name>`, the champion's checkpoint, and starts from the champion's adapter, so that the
    verdict compares the two. Nothing is added where there is no champion, or where its weights do not fit: it was not
    tuned by an adapter, the settings no longer select that checkpoint, or adapter or base model have changed.
    """
    bundle = read_champion_bundle(config) if config.retrain.warm_start else None
    if bundle is None:
        return text, config
    if bundle.record.baseline:
        logger.info("no warm start: the champion %s is a baseline, which is fitted from nothing", bundle.record.arm)
        return text, config
    name = bundle.record.checkpoint.removesuffix(WARM)
    tuner = config.checkpoints[name].tuner if name in config.checkpoints else None
    made: dict[str, Any] = read_json(bundle.checkpoint_folder / "checkpoint.json")
    fits = made.get("kind") == "adapter" and bundle.record.model == config.model.name
    if tuner is None or not fits or made["tuner"]["adapter"] != tuner.adapter:
        logger.info("no warm start: the champion %s has no adapter that fits these settings", bundle.record.arm)
        return text, config
    start = WarmStartConfig(adapter=str(bundle.folder / "checkpoint" / "adapter"), sha256=bundle.record.files[ADAPTER])
    warm = f"{name}{WARM}"
    checkpoint = CheckpointConfig(tuner=replace(tuner, warm_start=start))
    values = yaml.safe_load(text)
    settings = dict(values["checkpoints"][name]["tuner"]) | {"warm_start": asdict(start)}
    values["checkpoints"][warm] = {"tuner": settings}
    values["arms"]["checkpoint"] = [*values["arms"]["checkpoint"], warm]
    arms = replace(config.arms, checkpoint=[*config.arms.checkpoint, warm])
    changed = replace(config, checkpoints={**config.checkpoints, warm: checkpoint}, arms=arms)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True), changed
