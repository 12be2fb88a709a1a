"""The whole flow on the tiny model, once: prepare, finetune, arms and verdict, each by the stage's own code."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from arms import run_arm
from repository import Study
from tiny_tuner import tuner
from tuning import make_checkpoint

from whether.compare.compare import compare
from whether.config import CONF, CheckpointConfig, check, compose
from whether.prepare.prepare import prepare
from whether.records import output_folder, write_json, write_jsonl

ROOT = Path(__file__).parents[2]
SETTINGS = [
    "task=tickets", "task.max_new_tokens=8", "model=local", "model.name=tiny", "model.device=cpu",
    "model.dtype=float32", "model.threads=1",
    "model.licence=MIT", "prompt=[zero_shot]", "baseline=[]", "policy.resamples=200",
    "serving.requests=2", "serving.warmup=0",
]  # fmt: skip


@pytest.fixture(scope="session")
def finished_study(able_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("study")
    artifacts = root / "artifacts"
    config = check(yaml.safe_load(compose([*SETTINGS, f"model.source.path={able_model}"], ROOT / CONF)))
    checkpoints = {**config.checkpoints, "lora": CheckpointConfig(tuner(epochs=6, max_length=256))}
    config = replace(config, checkpoints=checkpoints)
    shutil.copytree(able_model, artifacts / "model")
    source = {"_target_": "whether.sources.models.folder", "path": str(able_model)}
    write_json(artifacts / "model" / "source.json", {"source": source})
    (root / "examples").mkdir()
    shutil.copy(ROOT / config.task.source.path, root / config.task.source.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        with output_folder(artifacts / "prepare") as folder:
            prepare(config.task, config.seed, folder=folder, model_folder=artifacts / "model")
        for name, checkpoint in config.checkpoints.items():
            with output_folder(artifacts / "finetune" / name) as folder:
                make_checkpoint(name, checkpoint.tuner, config.model, config.seed, artifacts=artifacts, folder=folder)
            with output_folder(artifacts / "score" / f"{name}-zero_shot") as folder:
                run_arm(
                    name, config.prompts["zero_shot"], config.model, config.serving, config.seed,
                    name=f"{name}-zero_shot", artifacts=artifacts, folder=folder,
                )  # fmt: skip
            write_retention(artifacts / "benchmark" / name, 3 if name == "base" else 2)
        with output_folder(artifacts / "compare") as folder:
            compare(config, artifacts=artifacts, folder=folder)
    return Study(root, config)


def write_retention(folder: Path, right: int) -> None:
    """Write the records of a retention suite of ten documents, as the benchmark stage would."""
    scores = [float(number < right) for number in range(10)]
    write_jsonl(folder / "samples.jsonl", [{"task": "dates", "doc_id": i, "score": s} for i, s in enumerate(scores)])
    write_json(folder / "results.json", {"dates": {"metric": "acc", "value": right / 10, "stderr": 0.1, "n": 10}})
    write_json(folder / "metrics.json", {"retention": right / 10, "tokens_per_second": 900.0, "perplexity": None})


@pytest.fixture
def study(finished_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: None) -> Study:
    """A copy that a test may change, as the working folder."""
    root = tmp_path / "repository"
    shutil.copytree(finished_study.root, root)
    monkeypatch.chdir(root)
    return Study(root, finished_study.config)
