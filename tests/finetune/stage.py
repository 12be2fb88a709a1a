"""The stage in a process of its own, as the command runs it, so that it can be stopped, starved and refused."""

import ctypes
import multiprocessing
import os
import re
import resource
import sys
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tuning import make_checkpoint

from whether import entry
from whether.config import ModelConfig, TunerConfig
from whether.finetune import finetune as module
from whether.records import output_folder

CONTEXT: Any = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["whether.finetune.trainer", "peft", "matplotlib.backends.backend_svg"])


def start(
    folder: Path, artifacts: Path, model: ModelConfig, settings: TunerConfig, log: Path, **trouble: Any
) -> BaseProcess:
    """Start the stage; what it says goes to `log`. `trouble` is that of `work`."""
    process: BaseProcess = CONTEXT.Process(target=work, args=(folder, artifacts, model, settings, log), kwargs=trouble)
    process.start()
    return process


def work(
    folder: Path, artifacts: Path, model: ModelConfig, settings: TunerConfig, log: Path, *,
    memory: int | None = None, file_size: int | None = None, signals: tuple[tuple[int, int], ...] = (),
) -> None:  # fmt: skip
    """Run the stage with, from its first step on, `memory` more bytes of address space, files of at most `file_size`
    bytes, and each of `signals` (steps done, signal) sent to itself."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    train = module.run

    def run(trainer: Any, state: Path) -> dict[str, Any]:
        trainer.add_callback(trouble(memory, file_size, signals))
        return train(trainer, state)

    module.run = run
    sys.argv = ["finetune"]
    entry.run(lambda _: stage(folder, artifacts, model, settings))


ROOM: list[bytes] = []


def trouble(memory: int | None, file_size: int | None, signals: tuple[tuple[int, int], ...]) -> Any:
    """Return a callback that makes the trouble of `work` at the start of a step."""
    from transformers import TrainerCallback

    class Trouble(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            if memory is not None and state.global_step == 0:
                # Room for Python's small objects: without it the first to fail may be one in an extension that does not
                # say so. Every fiftieth keeps its page.
                ROOM.extend([bytes(400) for _ in range(100_000)][::50])
                ctypes.CDLL(None).malloc_trim(0)  # What the allocator still holds would be more memory than `memory`.
                used = int(re.findall(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024
                resource.setrlimit(resource.RLIMIT_AS, (used + memory, resource.RLIM_INFINITY))
            if file_size is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
            for done, number in signals:
                if state.global_step == done:
                    os.kill(os.getpid(), number)

    return Trouble()


def stage(folder: Path, artifacts: Path, model: ModelConfig, settings: TunerConfig) -> None:
    with output_folder(folder) as temporary:
        make_checkpoint("lora", settings, model, 0, artifacts=artifacts, folder=temporary)


def said(log: Path) -> str:
    """Return what the stage said, without its progress bar."""
    lines = re.split(r"[\r\n]+|\x1b\[A", log.read_text())
    return "\n".join(line for line in lines if line.strip() and not re.match(r"\s*\d+%\|", line))


def lengthened(examples: list[Any], words: int) -> list[Any]:
    """Return the examples with `words` more words each."""
    return [replace(item, inputs={"text": item.inputs["text"] + " and so on" * words}) for item in examples]
