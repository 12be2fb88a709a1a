"""The stage `backend`: what answers a run's arms, `model.backend` or, with `auto`, the faster one of those installed.

All local arms of a run are answered by one backend: answers of two agree up to rounding only, and latencies not at all.
"""

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from whether.config import Config
from whether.errors import EngineError
from whether.generate.load import load_checkpoint
from whether.generate.protocol import ChatModel, answer_call, calls_of
from whether.model.info import cpu_count
from whether.model.precision import precision_of
from whether.records import (
    Backend,
    BackendChoice,
    BackendMeasurement,
    BackendSpeed,
    Request,
    read_json,
    read_jsonl,
    sha256_folder,
    sha256_json,
    write_json,
)

logger = logging.getLogger(__name__)

MARGIN = 1.2
"""vLLM is taken where the engine needs so many times its time: a smaller gain does not justify other roundings."""
SAMPLE = 24
"""Requests of each prompt that both are asked."""


def choose_backend(config: Config, *, artifacts: Path, folder: Path) -> None:
    """Write backend.json and measured.json into `folder`.

    What was measured earlier stays for the same model and machine. Where vLLM ends with an error, the engine answers,
    and the next run of the stage measures again.
    Raises EngineError where the engine itself fails.
    """
    choice, measured = _choice(config, artifacts)
    if config.model.backend == "auto":
        logger.info("%s answers: %s", choice.backend, measured.reason)
    write_json(folder / "backend.json", choice)
    write_json(folder / "measured.json", measured)


def _choice(config: Config, artifacts: Path) -> tuple[BackendChoice, BackendMeasurement]:
    asked = config.model.backend
    if asked != "auto":
        return BackendChoice(asked), BackendMeasurement("", "model.backend names it")
    found = _reason_for_engine(config)
    if found:
        return BackendChoice("engine"), BackendMeasurement("", found)
    key = _holds_for(config, artifacts / "model")
    earlier = artifacts / "backend" / "measured.json"
    if earlier.exists():
        measured = read_json(earlier, BackendMeasurement)
        if measured.holds_for == key:
            return read_json(earlier.with_name("backend.json"), BackendChoice), measured
    return _measure(config, artifacts, key)


def _reason_for_engine(config: Config) -> str | None:
    if all(checkpoint.served for checkpoint in config.checkpoints.values()):
        return "served models answer all arms"
    if config.not_in_vllm:
        return config.not_in_vllm
    return None if find_spec("vllm") else "vLLM is not installed"


def _holds_for(config: Config, model_folder: Path) -> str:
    model = config.model
    versions = [_version(module) for module in ("vllm", "torch", "transformers")]
    machine = [model.device, model.threads or cpu_count(), precision_of(model)]
    return sha256_json([sha256_folder(model_folder, "*.safetensors"), machine, versions])


def _version(module: str) -> str:
    """Return the version of what a module is part of: vLLM for a CPU has a name of its own."""
    return metadata.version(metadata.packages_distributions()[module][0])


def _measure(config: Config, artifacts: Path, key: str) -> tuple[BackendChoice, BackendMeasurement]:
    speeds = {"engine": _speed_in_own_process("engine")}
    try:
        speeds["vllm"] = _speed_in_own_process("vllm")
    except EngineError as error:
        reason = f"vLLM failed ({error})"
        return BackendChoice("engine"), BackendMeasurement("", reason, speeds=speeds)
    local = sum(not checkpoint.served for checkpoint in config.checkpoints.values())
    counts = {name: len(_requests(artifacts, name)) for name in config.prompts}
    seconds = {name: local * _prompts_seconds(speed, counts) for name, speed in speeds.items()}
    backend: Backend = "vllm" if seconds["engine"] >= MARGIN * seconds["vllm"] else "engine"
    reason = (
        f"the arms are expected to take {seconds['engine']:,.0f} s with the engine and {seconds['vllm']:,.0f} s with"
        f" vLLM, which is taken where the engine takes {MARGIN:g} times as long"
    )
    return BackendChoice(backend), BackendMeasurement(key, reason, seconds, speeds)


def _prompts_seconds(speed: BackendSpeed, counts: dict[str, int]) -> float:
    """Return what a checkpoint's arms take: a start and all requests of each prompt."""
    return sum(speed.load_seconds + count * speed.request_seconds[name] for name, count in counts.items())


def _speed_in_own_process(backend: Backend) -> BackendSpeed:
    """Measure a backend in a process of its own: neither changes how the other runs. EngineError where it fails."""
    logger.info("measuring how fast %s answers ...", backend)
    with TemporaryDirectory(prefix="whether-") as folder:
        file = Path(folder) / "speed.json"
        command = [sys.executable, "-m", "pipelines.backend", backend, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise EngineError(last.removeprefix("error: "))
        return read_json(file, BackendSpeed)


def measure_backend(backend: Backend, config: Config, *, artifacts: Path, file: Path) -> None:
    """Load the base model into a backend, answer a sample of each prompt's requests twice, and write a `BackendSpeed`.

    The second time counts. To be called first in a process of its own, whose start is part of loading. Raises
    EngineError for what does not run there.
    """
    import psutil

    loaded = load_checkpoint("base", artifacts / "model", None, replace(config.model, backend=backend), None)
    load_seconds = time.time() - psutil.Process().create_time()
    seconds = {name: _request_seconds(loaded.model, _sample(artifacts, name)) for name in config.prompts}
    write_json(file, BackendSpeed(load_seconds, seconds))


def _request_seconds(model: ChatModel, requests: Sequence[Request]) -> float:
    taken = 0.0
    for _ in range(2):
        start = time.perf_counter()
        for call in calls_of(requests):
            answer_call(model, call)
        taken = time.perf_counter() - start
    return taken / len(requests)


def _sample(artifacts: Path, prompt: str) -> list[Request]:
    """Return the first requests of a prompt's dev split, which are asked in one call."""
    dev = [one for one in _requests(artifacts, prompt) if one.split == "dev"]
    return [one for one in dev if one.call == dev[0].call][:SAMPLE]


def _requests(artifacts: Path, prompt: str) -> list[Request]:
    return read_jsonl(artifacts / "prompt" / prompt / "requests.jsonl", Request)
