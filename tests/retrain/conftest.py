"""A configuration, and hand-made inputs of triggers and gate."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from whether.bundle.bundle import prompt_hash
from whether.config import CONF, Config, check, compose
from whether.records import BundleRecord, Champion, RetrainingRun
from whether.retrain.triggers import Evidence, ObservedRow

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="session")
def config() -> Config:
    """The default configuration."""
    return check(yaml.safe_load(compose([], conf=ROOT / CONF)))


def bundle(config: Config, **changed: object) -> BundleRecord:
    """The record of a bundle of lora-zero_shot."""
    record = BundleRecord(
        id="aaaaaaaaaaaa", arm="lora-zero_shot", checkpoint="lora", prompt_name="zero_shot", task="snips",
        kind="fine_tune", model=config.model.name, model_hash="m" * 64, model_settings={}, prompt={},
        prompt_hash=prompt_hash(config, config.prompts["zero_shot"]), seed=0, quality=0.9, metric="accuracy",
        metrics={"n_test": 200.0, "mean_score": 0.9, "usd_per_1k": 0.01}, commit=None, labels=300, files={},
    )  # fmt: skip
    return replace(record, **changed)  # type: ignore[arg-type]


def retraining_run(number: int, **changed: object) -> RetrainingRun:
    """A retraining run in which no trigger fired."""
    time = f"2026-02-{number:02d}T02:00:00+00:00"
    return replace(RetrainingRun(number, time, time, "no_trigger", ""), **changed)  # type: ignore[arg-type]


def evidence(config: Config, items: list[ObservedRow], runs: list[RetrainingRun], **changed: object) -> Evidence:
    """What is known in the run after those, with a champion that is always right."""
    found = Evidence(
        number=runs[-1].number + 1 if runs else 1,
        now=NOW,
        config=config,
        items=items,
        runs=runs,
        champion=Champion("aaaaaaaaaaaa", None, "2026-02-01T02:00:00+00:00", 1, ""),
        bundle=bundle(config),
        scores=lambda keys: [1.0] * len(keys),
        measured=lambda requests: {"latency_p95": 1.0, "usd_per_1k": 0.01, "peak_memory": 1e9 + requests},
        model_hash=lambda: "m" * 64,
    )
    return replace(found, **changed)  # type: ignore[arg-type]
