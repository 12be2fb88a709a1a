"""How long a newcomer waits: `make run` in a fresh clone with an empty home and no cache, and `make run` once more.

    python benchmarks/first_run.py    # about half an hour; --json prints one object, --keep leaves the clone there

The clone is of the last commit. Nothing else should run on the machine meanwhile.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST_VERDICT = "This is the first verdict"
"""How the line begins that `whether run` prints with the first verdict."""
KEPT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Variables of the environment that a newcomer has, too; and those of pip."""


def main() -> None:
    """Clone, run twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="leave the clone there, and say where it is")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="whether-first-run-"))
    try:
        found = measure(folder)
    finally:
        if options.keep:
            print(f"the clone is {folder / 'whether'}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found) if options.json else table(found))


def measure(folder: Path) -> dict[str, float]:
    """Return seconds: of the installation, from the start to the first verdict and to all, and of a second run."""
    clone, home = folder / "whether", folder / "home"
    subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(clone)], check=True)
    home.mkdir()
    own = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("PIP_")}
    environment = own | {"HOME": str(home), "PATH": _without_environments(own["PATH"])}
    start = time.monotonic()
    _make("env", clone, environment)
    installed = time.monotonic() - start
    first = _make("run", clone, environment, FIRST_VERDICT)
    complete = time.monotonic() - start
    again = time.monotonic()
    _make("run", clone, environment)
    return {
        "install_s": round(installed, 1),
        "first_verdict_s": round(first - start, 1),
        "complete_s": round(complete, 1),
        "second_run_s": round(time.monotonic() - again, 1),
    }


def _make(target: str, clone: Path, environment: dict[str, str], awaited: str = "") -> float:
    """Run a make target and return when it said a line that begins with `awaited`; 0 where it never does."""
    when = 0.0
    with subprocess.Popen(
        ["make", target], cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            print(line, end="", file=sys.stderr, flush=True)
            if awaited and line.startswith(awaited):
                when = time.monotonic()
    if process.returncode:
        sys.exit(f"make {target} ended with status {process.returncode}")
    return when


def _without_environments(path: str) -> str:
    """Return PATH without this project's own environment, if it is activated."""
    ours = str(Path(sys.executable).parent)
    return os.pathsep.join(part for part in path.split(os.pathsep) if part != ours)


def table(found: dict[str, float]) -> str:
    """Return the seconds as Markdown."""
    titles = {
        "install_s": "packages are installed", "first_verdict_s": "the first verdict is there",
        "complete_s": "everything is measured", "second_run_s": "a second run, with nothing to do",
    }  # fmt: skip
    lines = [f"| {titles[name]} | {seconds:,.0f} s | {seconds / 60:.1f} min |" for name, seconds in found.items()]
    return "\n".join(["| after `make run` | | |", "|---|---:|---:|", *lines])


if __name__ == "__main__":
    main()
