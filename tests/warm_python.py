"""A Python that has the heavy packages imported already, for tests in which starting an interpreter is not the subject.

A server imports torch, transformers, MLflow, DVC and so on once and forks for each command. The command is a process of
its own with its own working folder, environment, streams and exit status. The project is imported before the fork too,
and imported again by a command whose PYTHONPATH has other code. `warm_python` makes a folder whose `python` runs
`-m dvc`, `-m pipelines...`, `-m whether...` and `-c` in this way and hands everything else to the real interpreter, and
whose `dvc` and `whether` are `python -m dvc` and `python -m whether.cli`. Tests of signals, kills and start-up use the
real one.
"""

import atexit
import contextlib
import filecmp
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock

PRELOADED = (
    "accelerate", "alembic.command", "antlr4", "datasets", "dvc.cli.parser", "dvc.repo.reproduce",
    "dvc.stage.run", "filelock", "flufl.lock", "httpx2", "hydra", "hydra._internal.config_loader_impl", "jinja2",
    "jsonschema", "lm_eval.evaluator", "lm_eval.models.huggingface", "lm_eval.tasks",
    "matplotlib.backends.backend_svg", "matplotlib.pyplot", "mlflow", "mlflow.pyfunc", "mlflow.store.db.utils",
    "mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store", "mlflow.tracing.client",
    "mlflow.tracing.provider", "networkx", "numpy", "omegaconf", "opentelemetry.sdk.trace", "pandas", "peft", "psutil",
    "pyarrow", "pydantic", "pydantic.dataclasses", "rapidfuzz", "rich", "ruamel.yaml", "safetensors.torch",
    "scipy.optimize", "scipy.stats", "scmrepo.git", "sklearn.feature_extraction.text", "sklearn.linear_model",
    "sqlalchemy.dialects.sqlite", "torch", "transformers", "transformers.generation",
    "transformers.models.llama.modeling_llama", "transformers.trainer",
)  # fmt: skip
PROJECT = Path(__file__).parents[1] / "src" / "whether"
CLIENT = """#!{base} -IS
import json, os, signal, socket, struct, sys
words = sys.argv[1:]
if words[:1] != ["-c"] and not (words[:1] == ["-m"] and words[1].startswith(("dvc", "pipelines", "whether"))):
    os.execv({real!r}, [{real!r}, *words])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([os.path.abspath(sys.argv[0]), words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [struct.pack("!Q", len(request))], [0, 1, 2])
server.sendall(request)
(child,) = struct.unpack("!q", server.recv(8))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(child, number))
(status,) = struct.unpack("!q", server.recv(8))
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@contextlib.contextmanager
def warm_python(folder: Path) -> Iterator[Path]:
    """Yield a folder with a `python` to put first on PATH; `folder` belongs to the lanes together.

    The first lane starts the server. Each keeps the writing end of a pipe open, and when all have closed theirs, or
    were killed, the server ends.
    """
    address, program, held = folder / "socket", folder / "bin" / "python", folder / "held"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not held.exists():
            os.mkfifo(held)
        reading = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
        holding = os.open(held, os.O_WRONLY)
        if not address.exists():
            program.parent.mkdir(exist_ok=True)
            base = getattr(sys, "_base_executable", sys.executable)
            program.write_text(CLIENT.format(base=Path(base).resolve(), real=sys.executable, address=str(address)))
            for name, module in (("dvc", "dvc"), ("whether", "whether.cli")):
                program.with_name(name).write_text(f'#!/bin/sh\nexec "{program}" -m {module} "$@"\n')
                program.with_name(name).chmod(0o755)
            program.chmod(0o755)
            start(address, reading, folder / "log")
        os.close(reading)
    try:
        yield program.parent
    finally:
        os.close(holding)


def start(address: Path, held: int, log: Path) -> None:
    """Start the server, which outlives this process where other lanes need it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-P", __file__, str(address)], env=environment, stdin=held, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    while not address.exists():
        if server.poll() is not None:
            raise RuntimeError(log.read_text())
        time.sleep(0.05)
    server.returncode = 0  # nobody waits for it


def serve(address: Path) -> None:
    """Fork for each connection until nobody holds standard input open."""
    sys.path.insert(0, str(PROJECT.parent))  # whatever is installed: what is imported here is what `PROJECT` names
    for name in PRELOADED:
        importlib.import_module(name)
    for file in sorted(PROJECT.rglob("*.py")):
        # Two register a model with lm-eval by name, which cannot be done again from other code.
        if file.name not in ("__main__.py", "lm_eval_model.py", "lm_eval.py"):
            module = ".".join(file.relative_to(PROJECT.parent).with_suffix("").parts).removesuffix(".__init__")
            with contextlib.suppress(ImportError):  # an extra that is not installed
                importlib.import_module(module)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers need not be waited for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.part")
        listener.listen(64)
        Path(f"{address}.part").rename(address)
        while sys.stdin not in (ready := select.select([listener, sys.stdin], [], [])[0]):
            assert ready
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                keep(connection)
            connection.close()


def keep(connection: socket.socket) -> NoReturn:
    """Start the command, tell the client its pid and in the end its status; without a client, kill it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, *_ = socket.recv_fds(connection, 8, 3)
    (length,) = struct.unpack("!Q", head)
    request = b""
    while len(request) < length:
        request += connection.recv(length - len(request))
    child = os.fork()
    if child == 0:
        connection.close()
        become(streams, *json.loads(request))
    for stream in streams:
        os.close(stream)
    connection.sendall(struct.pack("!q", child))
    ended = os.pidfd_open(child)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.killpg(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(struct.pack("!q", status))
    os._exit(0)


def forget_other_code(search_path: list[str]) -> None:
    """Leave the project to be imported by the command where its files are not those that were imported."""
    given = next((folder for entry in search_path if (folder := Path(entry) / "whether").is_dir()), PROJECT)
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*.py")) for folder in (given, PROJECT)]
    if files[0] != files[1] or not all(filecmp.cmp(given / name, PROJECT / name) for name in files[0]):
        for name in [name for name in sys.modules if name.partition(".")[0] == "whether"]:
            del sys.modules[name]


def become(streams: list[int], program: str, words: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    """Run `-m module` or `-c program` as the interpreter would, in this process."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    option, subject, *arguments = words
    sys.argv = [option, *arguments]
    sys.executable = program
    search_path = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:0] = [folder if option == "-m" else "", *search_path]
    forget_other_code(search_path)
    status: Any = 0
    try:
        if option == "-m":
            runpy.run_module(subject, run_name="__main__", alter_sys=True)
        else:
            exec(compile(subject, "<string>", "exec"), sys.modules["__main__"].__dict__)
    except SystemExit as error:
        status = error.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        status = 1
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status or 0)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
