"""What can happen to a run, for real: signals, too little memory, a full disk, a loss that is no number."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage import lengthened, said, start
from test_finetune import same_result, tune
from tiny_tuner import tuner

from whether.config import ModelConfig
from whether.errors import EngineError
from whether.finetune.checkpoints import disk_error, format_bytes
from whether.records import STATE, Example, read_json, read_jsonl, write_jsonl

LONG = tuner(epochs=8, evaluations_per_epoch=1)
CODES = {signal.SIGTERM: (143, "terminated"), signal.SIGINT: (130, "interrupted")}


def finished_steps() -> list[int]:
    return sorted(
        int(path.parent.name.rpartition("-")[2]) for path in STATE.glob("finetune/lora-*/checkpoint-*/sealed")
    )


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_and_the_next_run_ends_the_same(
    number: signal.Signals, tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    """Stopped in the first epoch, before anything was measured on dev, and again later, between two evaluations."""
    undisturbed = tune(tmp_path / "undisturbed", artifacts, model_config, LONG)
    for done in (1, 16):
        log = tmp_path / f"{done}.log"
        process = start(tmp_path / "out", artifacts, model_config, LONG, log, signals=((done, number),))
        process.join()
        code, word = CODES[number]
        assert process.exitcode == code, said(log)
        assert f"stopped at step {done + 1} of 48: run again to continue from there" in said(log)
        assert f"{word}: run the same command again" in said(log)
        assert "Traceback" not in log.read_text()
        assert not (tmp_path / "out").exists()
        assert finished_steps()[-1] == done + 1
    start(tmp_path / "out", artifacts, model_config, LONG, tmp_path / "last.log").join()
    same_result(tmp_path / "out", undisturbed)
    assert "going on from step 17" in said(tmp_path / "last.log")
    assert not list(STATE.glob("finetune/*"))


@pytest.mark.heavy
def test_a_second_signal_stops_at_once_and_nothing_is_lost(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    process = start(
        tmp_path / "out", artifacts, model_config, LONG, tmp_path / "log",
        signals=((8, signal.SIGINT), (8, signal.SIGINT)),
    )  # fmt: skip
    process.join()
    assert process.exitcode == 130, said(tmp_path / "log")
    assert "Traceback" not in said(tmp_path / "log")
    assert finished_steps() == [6]


def test_a_signal_that_is_ignored_stays_ignored(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        from whether.finetune.callbacks import GracefulStop

        with GracefulStop().listening():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def long_rows(artifacts: Path) -> Path:
    """The training rows with some 270 tokens each, which take memory."""
    path = artifacts / "prepare" / "train.jsonl"
    write_jsonl(path, lengthened(read_jsonl(path, Example), 60))
    return artifacts


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is limited by RLIMIT_AS")
def test_memory_that_runs_out_halves_the_micro_batch_and_keeps_the_step(
    tmp_path: Path, long_rows: Path, model_config: ModelConfig
) -> None:
    """The allocator refuses the whole batch at the first step: the result is that of the size which then fits, also
    when the run is stopped and continues where there is enough memory."""
    settings = {"batch_size": 22, "epochs": 3, "max_length": 512}
    process = start(
        tmp_path / "out", long_rows, model_config, tuner(**settings), tmp_path / "log",
        memory=64 * 2**20, signals=((0, signal.SIGTERM),),
    )  # fmt: skip
    process.join()
    assert process.exitcode == 143, said(tmp_path / "log")
    assert "out of memory: training continues in micro-batches of 11;" in said(tmp_path / "log")
    start(tmp_path / "out", long_rows, model_config, tuner(**settings), tmp_path / "rest.log").join()
    assert "out of memory" not in said(tmp_path / "rest.log")
    record = read_json(tmp_path / "out" / "checkpoint" / "checkpoint.json")
    used = record["micro_batch_size"]
    steps = [line for line in read_jsonl(tmp_path / "out" / "history.jsonl") if "loss" in line]
    assert [step["micro_batch_size"] for step in steps] == [used] * 3
    asked = tune(tmp_path / "asked", long_rows, model_config, tuner(micro_batch_size=used, **settings))
    weights = "checkpoint/adapter/adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (asked / weights).read_bytes()


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is limited by RLIMIT_AS")
def test_too_little_memory_for_one_example_is_an_error_with_a_remedy(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    path = artifacts / "prepare" / "train.jsonl"
    write_jsonl(path, lengthened(read_jsonl(path, Example)[:1], 2_500))
    process = start(
        tmp_path / "out", artifacts, model_config, tuner(max_length=22_500, epochs=1), tmp_path / "log",
        memory=16 * 2**20,
    )  # fmt: skip
    process.join()
    assert process.exitcode == 1, said(tmp_path / "log")
    assert "error: out of memory: " in said(tmp_path / "log")
    assert "lower tuner.max_length" in said(tmp_path / "log")
    assert "Traceback" not in said(tmp_path / "log")


@pytest.mark.heavy
def test_a_file_that_may_not_grow_is_one_error_and_the_next_run_ends_the_same(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    """The system refuses files over 20 kB: the first checkpoint cannot be written."""
    undisturbed = tune(tmp_path / "undisturbed", artifacts, model_config, tuner())
    process = start(tmp_path / "out", artifacts, model_config, tuner(), tmp_path / "log", file_size=20_000)
    process.join()
    assert process.exitcode == 1, said(tmp_path / "log")
    assert "cannot be written: a file would be larger than the system allows" in said(tmp_path / "log")
    assert "Traceback" not in said(tmp_path / "log")
    assert not list(STATE.glob("finetune/lora-*/checkpoint-*"))
    start(tmp_path / "out", artifacts, model_config, tuner(), tmp_path / "log").join()
    same_result(tmp_path / "out", undisturbed)


@pytest.fixture
def small_disk(artifacts: Path) -> Iterator[Path]:
    """.state/ on a file system of its own, of 330 kB: one checkpoint fits, two do not."""
    STATE.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=330k", "tmpfs", str(STATE.absolute())]
    may = os.geteuid() == 0 and shutil.which("mount") is not None
    if not may or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield STATE
    subprocess.run(["umount", str(STATE.absolute())], check=True)


@pytest.mark.heavy
def test_a_full_disk_is_one_error_that_keeps_the_last_checkpoint(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig, small_disk: Path
) -> None:
    process = start(tmp_path / "out", artifacts, model_config, tuner(), tmp_path / "log")
    process.join()
    assert process.exitcode == 1, said(tmp_path / "log")
    words = said(tmp_path / "log")
    assert "error: .state/finetune/lora-" in words
    assert "cannot be written: the disk is full; about 247 kB are needed and" in words
    assert "Traceback" not in words
    assert finished_steps() == [3]
    assert [path.name for path in STATE.glob("finetune/lora-*/*")] == ["checkpoint-3"]
    subprocess.run(["mount", "-o", "remount,size=10M", str(small_disk.absolute())], check=True)
    start(tmp_path / "out", artifacts, model_config, tuner(), tmp_path / "log").join()
    assert "going on from step 3" in said(tmp_path / "log")
    shutil.rmtree(STATE / "finetune")
    same_result(tmp_path / "out", tune(tmp_path / "undisturbed", artifacts, model_config, tuner()))


def test_only_refusals_of_space_are_taken_for_a_full_disk(tmp_path: Path) -> None:
    assert disk_error(OSError(28, "No space left on device"), tmp_path, 1) == "the disk is full"
    assert disk_error(ValueError("I/O error: No space left on device (os error 28)"), tmp_path, 1) == "the disk is full"
    assert disk_error(RuntimeError("basic_ios::clear: iostream error"), tmp_path, 1000) is None
    assert disk_error(OSError(13, "Permission denied"), tmp_path, 1) is None
    assert list(tmp_path.iterdir()) == []
    assert [format_bytes(size) for size in (12, 1500, 147_000, 2_500_000, 7 * 10**9)] == [
        "12 bytes", "1.5 kB", "147 kB", "2.5 MB", "7 GB",
    ]  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize(("dtype", "size"), [("float32", 1), ("bfloat16", None), ("bfloat16", 3)])
def test_a_loss_that_is_no_number_ends_training_the_same_way_each_time(
    dtype: Any, size: int | None, tmp_path: Path, artifacts: Path, model_config: ModelConfig
) -> None:
    """In micro-batches and in half precision too; what has diverged is never saved, so a rerun says the same."""
    from dataclasses import replace

    adapter = {"_target_": "whether.finetune.adapters.lora", "r": 4, "alpha": 1e38}
    settings = tuner(adapter=adapter, micro_batch_size=size)
    said_before = ""
    for attempt in ("first", "again"):
        with pytest.raises(EngineError, match=r"diverged: \w+ is (nan|inf) at step \d of 18") as raised:
            tune(tmp_path / attempt, artifacts, replace(model_config, dtype=dtype), settings)
        assert said_before in ("", str(raised.value))
        said_before = str(raised.value)
        assert finished_steps() == []


@pytest.mark.heavy
def test_a_dev_loss_that_is_no_number_ends_training(
    tmp_path: Path, artifacts: Path, model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step before an evaluation can ruin the weights although its own loss was fine."""
    from whether.finetune.trainer import AnswerTrainer

    step = AnswerTrainer.training_step

    def ruin(self: Any, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        loss = step(self, model, inputs, num_items_in_batch)
        if self.state.global_step == 5:
            self.optimizer.param_groups[0]["lr"] = float("nan")
        return loss

    monkeypatch.setattr(AnswerTrainer, "training_step", ruin)
    with pytest.raises(EngineError, match="diverged: eval_loss is nan at step 6 of 18"):
        tune(tmp_path / "out", artifacts, model_config, tuner())
    assert finished_steps() == [3]
