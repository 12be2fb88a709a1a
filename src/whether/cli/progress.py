"""How far a run is: one live line in a terminal, elsewhere a line for each stage; and the stages' own messages."""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, TextIO

import yaml

from whether.cli.stage_times import StageTimes, kind_of, measured_speed
from whether.entry import OWN_LINE
from whether.errors import RecordError
from whether.printing.terminal import say
from whether.records import read_json, write_json

STATE = Path(".state")
LOG = STATE / "run.log"
"""All that the last run's downloads, DVC and the stages have printed."""
LOCK = STATE / "run.lock"
"""Held by the run that is at work in this folder."""
TIMES = STATE / "stage_seconds.json"
"""Stage → seconds that it last took here."""
FIRST_VERDICT_STAGES = (
    "model", "prepare", "training_set", "finetune", "prompt", "backend", "race", "generate", "baseline_data",
    "baseline", "score", "quick",
)  # fmt: skip
"""Stages that the first verdict waits for."""
UNCOUNTED_STAGES = ("compose", "code")
"""Stages that a run has done before DVC starts, or that take no time."""
SHOWN_PREFIXES = ("error: ", "ERROR: ", "WARNING: ")
"""How lines of DVC and of stages begin that are for the user."""


def stage_names(flow: Path, params: Mapping[str, Any]) -> list[str]:
    """Return the stages of a dvc.yaml whose matrices are lists of `params`, in the order of the file."""
    found = []
    for name, stage in yaml.safe_load(flow.read_text(encoding="utf-8"))["stages"].items():
        lists = [_resolved(values, params) for values in stage.get("matrix", {}).values()]
        found += ["@".join(filter(None, (name, "-".join(map(str, items))))) for items in product(*lists)]
    return [name for name in found if name not in UNCOUNTED_STAGES]


def _resolved(values: Any, params: Mapping[str, Any]) -> Sequence[Any]:
    path = re.fullmatch(r"\$\{(.+)\}", values) if isinstance(values, str) else None
    found: Any = values
    if path:
        found = params
        for key in path[1].split("."):
            found = found[key]
    return list(found)


class RunProgress:
    """What a user sees while `dvc repro` runs."""

    def __init__(
        self, stages: Sequence[str], times: StageTimes, out: TextIO, errors: TextIO, *, live: bool,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        """Write to `out` how far it is, and to `errors` the stages' messages; `live` where `out` is a terminal."""
        self._left = dict.fromkeys(stages)
        self._stages = frozenset(stages)
        self.times = times
        self._out, self._err, self._live, self._clock = out, errors, live, clock
        self._stage: str | None = None
        self._began = 0.0
        self._shown = False
        self._errors = 0
        self._in_error = False
        self._tail: list[str] = []
        self._writing = threading.RLock()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show that a step which is none of DVC's is under way, once it takes a second; messages stand above the line.

        A terminal sees it; elsewhere the step's own messages have to do.
        """
        own_logger, handler, ended = logging.getLogger("whether"), _BeforeMessages(self.clear), threading.Event()
        drawing = threading.Thread(target=self._draw_until, args=(ended,), daemon=True)
        self._stage, self._began = name, self._clock()
        own_logger.handlers.insert(0, handler)
        drawing.start()
        try:
            yield
        finally:
            ended.set()
            drawing.join()
            self.clear()
            own_logger.removeHandler(handler)
            self._stage = None

    def _draw_until(self, ended: threading.Event) -> None:
        while not ended.wait(1.0):
            self.tick()

    def handle_line(self, line: str) -> None:
        """Read a line of DVC or of a stage, and show what is for the user."""
        started = re.fullmatch(r"Running stage '([^']+)':?", line.strip())
        passed = re.match(r"Stage '([^']+)' (didn't change|is cached)", line)
        if started or passed:
            self._end_stage()
        if started:
            self._begin(started[1])
        elif passed:
            self._left.pop(passed[1], None)
        elif line.startswith(OWN_LINE):
            self._print(line.removeprefix(OWN_LINE), self._err)
        else:
            self._tail = [*self._tail[-39:], line]
            is_error = line.startswith("error: ")
            # An error of ours ends its stage: what follows before DVC says so are its further lines.
            self._in_error = is_error or (self._in_error and not line.startswith(SHOWN_PREFIXES))
            self._errors += is_error
            if self._in_error or line.startswith(SHOWN_PREFIXES):
                self._print(line, self._err)

    def tick(self) -> None:
        """Draw the live line again."""
        if self._live and self._stage is not None:
            with self._writing:
                self._out.write(f"\r\033[K{self._line()}")
                self._out.flush()
                self._shown = True

    def clear(self) -> None:
        """Take the live line away, for other output."""
        with self._writing:
            if self._shown:
                self._out.write("\r\033[K")
                self._out.flush()
                self._shown = False

    def end(self, status: int, log: Path) -> None:
        """Close with the run; where it failed without an error of ours, with the last lines and where the rest is."""
        if status == 0:
            self._end_stage()
        self.clear()
        if status:
            if not self._errors:
                self._print("\n".join(self._tail), self._err)
            self._print(f"everything that was printed: {log}", self._err)

    def stages_left(self) -> list[str]:
        """Return the stages that DVC has neither begun nor passed over."""
        return list(self._left)

    def minutes_left(self) -> tuple[float | None, float]:
        """Return minutes to the first verdict (None: it is there) and to the end."""
        spent = self._clock() - self._began
        rest = {stage: self.times.expected(stage) for stage in self._left}
        if self._stage in self._stages:
            rest[self._stage] = max(1.0, self.times.expected(self._stage) - spent)
        first = [seconds for stage, seconds in rest.items() if kind_of(stage) in FIRST_VERDICT_STAGES]
        return sum(first) / 60 if first else None, sum(rest.values()) / 60

    def _begin(self, stage: str) -> None:
        self._stage, self._began, self._tail, self._in_error = stage, self._clock(), [], False
        self._left.pop(stage, None)
        if stage in UNCOUNTED_STAGES:
            self._print(f"Running stage '{stage}'", self._out)
            self._stage = None
        elif self._live:
            self.tick()
        else:
            self._print(f"Running stage '{stage}' ({self._where()})", self._out)

    def _end_stage(self) -> None:
        if self._stage is not None:
            self.times.took(self._stage, self._clock() - self._began)
            self._stage = None

    def _print(self, text: str, where: TextIO) -> None:
        self.clear()
        say(text, file=where)

    def _line(self) -> str:
        spent = self._clock() - self._began
        return f"{self._stage}  {spent:.0f} s  ({self._where()})"

    def _where(self) -> str:
        first, whole = self.minutes_left()
        number = len(self._stages) - len(self._left)
        parts = [f"{number} of {len(self._stages)}"] if number else []
        if first is not None and first < whole:
            parts.append(f"about {minutes_text(first)} to the first verdict, {minutes_text(whole)} to all")
        else:
            parts.append(f"about {minutes_text(whole)} left")
        return "; ".join(parts)


class _BeforeMessages(logging.Handler):
    """Calls a function before another handler prints a message."""

    def __init__(self, act: Callable[[], None]):
        super().__init__()
        self._act = act

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - logging's signature
        self._act()


def minutes_text(minutes: float) -> str:
    """Return a duration as a reader wants it."""
    return f"{minutes:.0f} min" if minutes >= 1 else "a minute"


@contextmanager
def shown_progress(stages: Sequence[str]) -> Iterator[RunProgress]:
    """Yield the progress of a run of `stages`; what they take is kept for the next run."""
    known = _known_times()
    times = StageTimes(known, 1.0 if known else measured_speed())
    progress = RunProgress(stages, times, sys.stdout, sys.stderr, live=sys.stdout.isatty())
    try:
        yield progress
    finally:
        progress.clear()
        write_json(TIMES, {stage: round(seconds, 1) for stage, seconds in times.known.items()})


def _known_times() -> dict[str, float]:
    try:
        return read_json(TIMES, dict[str, float])
    except RecordError:
        return {}
