"""Two processes that train together, as a launcher starts them: the numbers of one, one writer, resumed alike."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_finetune import timeless_history
from tuning import make_checkpoint, training_data

from whether.config import CONF, ModelConfig, compose, load
from whether.config.composing import write_params
from whether.errors import ConfigError
from whether.finetune import processes
from whether.records import STATE, read_json

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "model.device": "cpu", "model.dtype": "float32", "model.threads": 1,
    "tuner.r": 4, "tuner.alpha": 8, "tuner.learning_rate": 5e-3,
    "tuner.batch_size": 5, "tuner.epochs": 4, "tuner.evaluations_per_epoch": 1, "tuner.max_length": 128,
    "tuner.micro_batch_size": 2,
}  # fmt: skip
"""22 rows in steps of 5: shares of 3 and 2, and a last step of 2 rows, one each."""
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "pipelines.finetune", "lora"]


@pytest.fixture
def settings(artifacts: Path) -> None:
    write_params(compose([f"{key}={value}" for key, value in SETTINGS.items()], conf=ROOT / CONF))
    training_data(artifacts, tuner=load().checkpoints["lora"].tuner)


def start() -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *TWO]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def by_two(name: str) -> Path:
    process = start()
    words = process.communicate()[1]
    assert process.returncode == 0, words
    return Path("artifacts/finetune/lora").rename(name)


def by_one(artifacts: Path) -> Path:
    config, folder = load(), Path("one")
    folder.mkdir()
    make_checkpoint(
        "lora", config.checkpoints["lora"].tuner, config.model, config.seed, artifacts=artifacts, folder=folder
    )
    return folder


@pytest.mark.heavy
def test_two_processes_train_like_one(artifacts: Path, settings: None) -> None:
    one, two = by_one(artifacts), by_two("two")
    for alone, shared in zip(timeless_history(one), timeless_history(two), strict=True):
        for key in alone.keys() - {"computed_tokens", "flops"}:
            assert shared[key] == pytest.approx(alone[key], rel=1e-5), (key, alone)
    assert read_json(two / "metrics.json")["dev_exact"] == read_json(one / "metrics.json")["dev_exact"]
    assert not list(STATE.glob("finetune/*"))


@pytest.mark.heavy
def test_two_processes_try_a_collapsed_training_again_like_one(unequal: Path) -> None:
    collapsing = {
        "tuner.learning_rate": 6e-2, "tuner.batch_size": 4, "tuner.epochs": 1, "tuner.balanced": False,
    }  # fmt: skip
    write_params(compose([f"{key}={value}" for key, value in (SETTINGS | collapsing).items()], conf=ROOT / CONF))
    training_data(unequal, tuner=load().checkpoints["lora"].tuner)
    one, two = (read_json(folder / "checkpoint" / "checkpoint.json") for folder in (by_one(unequal), by_two("two")))
    assert one["retry"]["first"]["collapsed"]
    assert two["retry"] == one["retry"]
    assert not list(STATE.glob("finetune/*"))


@pytest.mark.slow
def test_two_processes_go_on_after_a_signal(artifacts: Path, settings: None) -> None:
    two, process = by_two("two"), start()
    while process.poll() is None and not list(STATE.glob("finetune/lora-*/checkpoint-*/sealed")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    words = process.communicate()[1]
    assert words.count("stopped at step") == 1, words
    assert list(Path("artifacts/finetune").iterdir()) == []
    again = by_two("again")
    weights = "checkpoint/adapter/adapter_model.safetensors"
    assert (again / weights).read_bytes() == (two / weights).read_bytes()
    assert timeless_history(again) == timeless_history(two)


def test_more_processes_than_examples_in_a_step_are_refused(
    artifacts: Path, model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_tuner import tuner

    for name, value in {"WORLD_SIZE": "8", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"tuner\.batch_size is 4: .* shared by 8 processes"):
        make_checkpoint("lora", tuner(), model_config, 0, artifacts=artifacts, folder=None)


def test_a_cluster_that_says_so_without_a_launcher_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert (processes.count(), processes.is_main()) == (1, True)


def test_a_launcher_that_starts_one_process_for_many_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    for name, value in {"ACCELERATE_USE_CPU": "True", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    logging.getLogger("whether").propagate = True
    try:
        processes.begin()
    finally:
        logging.getLogger("whether").propagate = False
    assert "on CPUs use `torchrun --nproc_per_node N" in caplog.text
