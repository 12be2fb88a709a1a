"""Our trainer against TRL's SFTTrainer and against our own padded batches: LoRA on SNIPS, side by side in one run.

    make run                                  # once: data and model
    python benchmarks/finetune.py             # the table; installs TRL into an environment of its own first
    python benchmarks/finetune.py --quick     # a smaller run of the same within 10 minutes
    python benchmarks/finetune.py --json      # one JSON object

Every side is a process of its own and trains the same examples in the same order from the same weights, with the same
batch size, precision, schedule and threads, which is checked. They take turns: each trains one optimizer step, then
waits. So what else the machine does hits all of them, and a ratio is the median of the ratios of single steps, the
first step left out. TRL gets the fastest of its ways to lay out batches on this machine, found before in a short trial.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from contestants import Side
from environments import InstallationError, peer_python
from finetune_contestants import ARTIFACTS, STEPS, TRL

from whether.records import Task, read_json

OURS, PADDED = "whether:packed", "whether:padded"
DTYPES = ("float32", "bfloat16")
QUICK_STEPS = 6
"""Steps with --quick of the sides whose losses are not asked for."""
TRIAL_STEPS = 3


class Step(NamedTuple):
    """One optimizer step of one side."""

    seconds: float
    loss: float
    examples: int
    data: str
    """Hash of the token ids and labels that it trained on."""


class Run(NamedTuple):
    """What one side did."""

    steps: list[Step]
    peak: int
    """Bytes of resident memory, at most."""

    @property
    def rate(self) -> float:
        """Examples a second, the first step left out."""
        return median(step.examples / step.seconds for step in self.steps[1:])


class Contestant:
    """A side's process."""

    def __init__(self, name: str, dtype: str, steps: int):
        self.name, self.steps = name, steps
        self.taken: list[Step] = []
        python = trl_python() if name.startswith("trl:") else sys.executable
        self._side = Side(name, [str(python), str(Path(__file__).with_name("finetune_contestants.py")), name, dtype])
        self.start = self._side.answer()

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, *details: object) -> None:
        self._side.__exit__(*details)

    def step(self) -> None:
        """Train one step, if any is left."""
        if len(self.taken) < self.steps:
            self.taken.append(Step(**self._side.ask("step")))

    def stop(self) -> Run:
        """End the process and return what it did."""
        return Run(self.taken, **self._side.ask("stop"))


class Comparison(NamedTuple):
    """All sides in one precision."""

    dtype: str
    ours: Run
    padded: Run
    trl: Run
    trl_layout: str
    loss_difference: float | None
    """Largest difference of a step's loss between ours, padded and TRL with the same batches; None if too few steps."""
    trials: dict[str, float]
    """TRL's ways to lay out batches: examples a second in the trial."""

    @property
    def vs_trl(self) -> float:
        """How many times TRL's examples a second we train."""
        return ratio(self.ours, self.trl)

    @property
    def vs_padded(self) -> float:
        """How many times the padded batches' examples a second we train."""
        return ratio(self.ours, self.padded)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps of the sides whose losses are not compared")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="only this precision; default: both")
    options = parser.parse_args()
    check_environment()
    compared, layout = list[Comparison](), None
    for dtype in options.dtype or DTYPES:
        compared.append(compare(dtype, quick=options.quick, layout=layout))
        layout = compared[0].trl_layout if options.quick else None
    print(json.dumps(summary(compared)) if options.json else table(compared))


def check_environment() -> None:
    """Exit with what is missing, and install the peer."""
    try:
        task = read_json(ARTIFACTS / "prepare/task.json", Task)
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is not there: run `make run` first")
    if task.name != "snips":
        sys.exit(f"artifacts/prepare holds task {task.name}, and this needs snips: make run")
    trl_python()


def trl_python() -> Path:
    """Return the interpreter that has TRL: the same pinned packages, in an environment of its own."""
    try:
        return peer_python("trl", "-e", ".[benchmarks]")
    except InstallationError as error:
        sys.exit(str(error))


def compare(dtype: str, *, quick: bool, layout: str | None) -> Comparison:
    """Measure one precision. TRL's layout of batches is found in a trial, unless it is given."""
    trials = {} if layout else {name: trial(name, dtype) for name in TRL}
    fastest = layout or max(trials, key=lambda name: trials[name])
    same_batches = fastest if fastest != "packed" else max(trials.keys() - {"packed"}, key=lambda name: trials[name])
    long = STEPS if dtype == "float32" or not quick else QUICK_STEPS
    short = QUICK_STEPS if quick else STEPS
    steps = {OURS: long, PADDED: short, f"trl:{same_batches}": long} | (
        {"trl:packed": short} if fastest == "packed" else {}
    )
    note(f"{dtype}: {', '.join(steps)}, in turns")
    with ExitStack() as stack:
        sides = [stack.enter_context(Contestant(name, dtype, count)) for name, count in steps.items()]
        if len({json.dumps(side.start) for side in sides}) != 1:
            sys.exit(f"sides do not start alike: { ({side.name: side.start for side in sides}) }")
        for number in range(max(steps.values())):
            for side in sides:
                side.step()
            note("  " + ", ".join(f"{side.taken[-1].seconds:.2f} s" for side in sides if len(side.taken) > number))
        runs = {side.name: side.stop() for side in sides}
    alike = [runs[name] for name in (OURS, PADDED, f"trl:{same_batches}")]
    return Comparison(
        dtype=dtype,
        ours=runs[OURS],
        padded=runs[PADDED],
        trl=runs[f"trl:{fastest}"],
        trl_layout=fastest,
        loss_difference=loss_difference(alike[0], alike[1:]),
        trials=trials,
    )


def trial(name: str, dtype: str) -> float:
    """Return the examples a second of the best of a few steps, the first left out."""
    with Contestant(f"trl:{name}", dtype, TRIAL_STEPS) as side:
        for _ in range(TRIAL_STEPS):
            side.step()
        run = side.stop()
    rate = max(step.examples / step.seconds for step in run.steps[1:])
    note(f"  trial of trl:{name} in {dtype}: {rate:.2f} examples/s, peak {run.peak / 2**30:.2f} GiB")
    return rate


def loss_difference(ours: Run, others: Sequence[Run]) -> float:
    """Return the largest difference of a step's loss. Exits if a step trained on other tokens or labels."""
    largest = 0.0
    for other in others:
        for number, (mine, theirs) in enumerate(zip(ours.steps, other.steps, strict=False), 1):
            if mine.data != theirs.data:
                sys.exit(f"step {number} did not train on the same tokens and labels")
            largest = max(largest, abs(mine.loss - theirs.loss))
    return largest


def ratio(ours: Run, other: Run) -> float:
    """Return the median over steps of the ratio of examples a second, the first step left out."""
    pairs = list(zip(ours.steps, other.steps, strict=False))[1:]
    return median(a.examples / a.seconds / (b.examples / b.seconds) for a, b in pairs)


def summary(compared: Sequence[Comparison]) -> dict[str, Any]:
    """Return the object that --json prints: the least of each ratio over the precisions, and every figure."""
    return {
        "vs_trl_ratio": min(one.vs_trl for one in compared),
        "vs_padded_ratio": min(one.vs_padded for one in compared),
        "loss_max_diff_float32": next((one.loss_difference for one in compared if one.dtype == "float32"), None),
        "peak_memory_ratio": max(one.ours.peak / one.trl.peak for one in compared),
        "precisions": {
            one.dtype: {
                "vs_trl_ratio": one.vs_trl,
                "vs_padded_ratio": one.vs_padded,
                "loss_max_diff": one.loss_difference,
                "peak_memory_ratio": one.ours.peak / one.trl.peak,
                "examples_per_second": {"ours": one.ours.rate, "padded": one.padded.rate, "trl": one.trl.rate},
                "trl_layout": one.trl_layout,
                "trl_trials": one.trials,
                "losses": {"ours": losses(one.ours), "padded": losses(one.padded), "trl": losses(one.trl)},
            }
            for one in compared
        },
    }


def losses(run: Run) -> list[float]:
    """Return the loss of each step."""
    return [step.loss for step in run.steps]


def table(compared: Sequence[Comparison]) -> str:
    """Return the sides as Markdown."""
    asked = [str(trl_python()), "-c", "import importlib.metadata as m; print(m.version('trl'))"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    lines = [
        "| precision | side | examples/s | ours is faster | steps | largest loss difference | peak memory, GiB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for one in compared:
        sides = [
            ("ours, packed", one.ours, None, None),
            ("ours, padded", one.padded, one.vs_padded, None),
            (f"TRL {version}, {one.trl_layout}", one.trl, one.vs_trl, one.loss_difference),
        ]
        for title, run, faster, difference in sides:
            cells = [
                one.dtype, title, f"{run.rate:.2f}", "" if faster is None else f"**{faster:.1f}×**",
                str(len(run.steps)), "" if difference is None else f"{difference:.1e}",
                f"{run.peak / 2**30:.2f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def note(text: str) -> None:
    """Say on standard error how far the run is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
