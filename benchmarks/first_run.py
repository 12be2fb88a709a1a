"""How long a newcomer waits: `make run` in a fresh clone with an empty home and no cache, and `make run` once more.

    python benchmarks/first_run.py    # some 15 minutes; --json prints one object, --keep leaves the clone there
    python benchmarks/first_run.py --picture docs/first_run.svg    # and draws what a newcomer sees, with the times

The clone is of the last commit. Nothing else should run on the machine meanwhile.
"""

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

FIRST_VERDICT = "This is the first verdict"
"""How the line begins that `whether run` prints with the first verdict."""
WIDTH = 128
"""Of the picture's lines, in characters: without a terminal, lines are 119 wide."""
KEPT = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Variables of the environment that a newcomer has, too; and those of pip."""


def main() -> None:
    """Clone, run twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="leave the clone there, and say where it is")
    parser.add_argument("--picture", type=Path, help="write an SVG of what is printed up to the first verdict")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="whether-first-run-"))
    try:
        found, printed = measure(folder)
    finally:
        if options.keep:
            print(f"the clone is {folder / 'whether'}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if options.picture:
        options.picture.write_text(picture(printed), encoding="utf-8")
    print(json.dumps(found) if options.json else table(found))


class Line(NamedTuple):
    """What stood on the screen when."""

    seconds: float
    """Since the start."""
    text: str


def measure(folder: Path) -> tuple[dict[str, float], list[Line]]:
    """Return seconds: of the installation, from the start to the first verdict and to all, and of a second run.

    With them come the lines that were printed up to the first verdict.
    """
    clone, home = folder / "whether", folder / "home"
    subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(clone)], check=True)
    home.mkdir()
    own = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("PIP_")}
    environment = own | {
        "HOME": str(home), "PATH": _without_environments(own["PATH"]), "COLUMNS": str(WIDTH - 9)
    }  # fmt: skip
    start = time.monotonic()
    printed = _make("env", clone, environment, start)
    installed = time.monotonic() - start
    printed += _make("run", clone, environment, start)
    complete = time.monotonic() - start
    first = next((number for number, line in enumerate(printed) if line.text.startswith(FIRST_VERDICT)), None)
    if first is None:
        sys.exit(f"no line begins with {FIRST_VERDICT!r}")
    again = time.monotonic()
    _make("run", clone, environment, again)
    found = {
        "install_s": round(installed, 1),
        "first_verdict_s": round(printed[first].seconds, 1),
        "complete_s": round(complete, 1),
        "second_run_s": round(time.monotonic() - again, 1),
    }
    return found, printed[: first + 1]


def _make(target: str, clone: Path, environment: dict[str, str], start: float) -> list[Line]:
    """Run a make target and return what it printed, with the seconds since `start`."""
    printed = []
    with subprocess.Popen(
        ["make", target], cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            print(line, end="", file=sys.stderr, flush=True)
            printed.append(Line(time.monotonic() - start, line.rstrip("\n")))
    if process.returncode:
        sys.exit(f"make {target} ended with status {process.returncode}")
    return printed


def picture(printed: Sequence[Line]) -> str:
    """Return an SVG of a terminal with these lines, minutes and seconds before each."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    console.print(Text("       $ make run", style="bold"))
    for seconds, text in printed:
        minutes = f"{int(seconds) // 60:3}:{int(seconds) % 60:02}  "
        for number, part in enumerate(textwrap.wrap(text, WIDTH - 9, drop_whitespace=False) or [""]):
            shown = part.lstrip() if number else part
            console.print(Text.assemble((" " * 8 if number or not text.strip() else minutes, "dim"), shown.rstrip()))
    drawn = console.export_svg(title="make run, minutes and seconds since the start")
    return re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # fonts that a page would load from elsewhere


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
