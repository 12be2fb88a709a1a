"""Environments of their own for the peers of benchmarks: build/peers/<name>, made again when the pins change."""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PEERS = Path("build/peers")
CONSTRAINTS = Path("constraints.txt")


class InstallationError(RuntimeError):
    """A peer cannot be installed; the message says why."""


def peer_python(name: str, *packages: str, constraints: bool = True, without: Sequence[str] = ()) -> Path:
    """Return the interpreter of a peer's environment, in which `packages` are installed as pip takes them.

    With `constraints` they are those that constraints.txt pins. What is in `without` is uninstalled again. Raises
    InstallationError.
    """
    folder = PEERS / name
    python, made_of = folder / "bin" / "python", folder / "made_of"
    pins = CONSTRAINTS.read_text() + Path("pyproject.toml").read_text() if constraints else ""
    key = hashlib.sha256(repr((packages, pins, without, sys.version)).encode()).hexdigest()
    if made_of.exists() and made_of.read_text() == key:
        return python
    print(f"installing {' '.join(packages)} into {folder} ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(folder)])
    options = ["-c", str(CONSTRAINTS)] if constraints else []
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv:
        run([uv, "pip", "install", "--quiet", "--python", str(python), *options, *packages], _uv_settings())
    else:
        run([str(python), "-m", "pip", "install", "--quiet", *options, *packages])
    if without:
        run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *without])
    made_of.write_text(key)
    return python


def _uv_settings() -> dict[str, str]:
    """Return pip's settings as environment variables of uv."""
    shown = subprocess.run([sys.executable, ".ci/uv_settings.py"], capture_output=True, text=True, check=True).stdout
    lines = (shlex.split(line)[1].partition("=") for line in shown.splitlines())
    return {name: value for name, _, value in lines}


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a step of an installation. Raises InstallationError."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (environment or {}))
    if done.returncode:
        raise InstallationError(f"{shlex.join(command)} failed: {(done.stderr or done.stdout).strip()[-500:]}")
