"""`whether run`, `quick`, `report` and `fetch`: the pipeline, and the verdict in the terminal."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill

import yaml

from whether.cli.first_verdict import parts_to_come, what_changed
from whether.cli.progress import FIRST_VERDICT_STAGES, LOCK, LOG, RunProgress, shown_progress, stage_names
from whether.cli.stage_times import kind_of
from whether.config import Config, check, compose, require_packages, write_params
from whether.errors import RecordError, SourceError
from whether.printing.terminal import say
from whether.records import ARTIFACTS, Verdict, exclusive_lock, read_json, write_text
from whether.repository.repro import reproduce
from whether.repository.without_git import let_dvc_work
from whether.sources.fetch import fetch_all

REPORT = ARTIFACTS / "report" / "report.html"
VERDICT = ARTIFACTS / "compare" / "verdict.json"
FIRST_VERDICT = ARTIFACTS / "quick" / "verdict.json"


def quick(overrides: Sequence[str]) -> int:
    """Run what a first verdict needs, and show it: the arms alone. Returns the status of `dvc repro`."""
    config, text = _composed(overrides)
    with _only_run():
        stages = _stages(text)
        first = [stage for stage in stages if kind_of(stage) in FIRST_VERDICT_STAGES]
        rest = [stage for stage in stages if stage not in first]
        with shown_progress(first) as progress:
            _prepare(config, text, progress)
            status = _repro(progress, "quick")
            times = progress.times
        if not status:
            _show_first(
                read_json(FIRST_VERDICT, Verdict), parts_to_come(config, rest, times), "`whether run` continues"
            )
    return status


def run(overrides: Sequence[str]) -> int:
    """Compose the settings, fetch what is missing, run what is not up to date, publish, and show the verdict.

    What `dvc repro` does, with settings from the command line, data fetched first, the first verdict shown as soon as
    there is a new one, and the result at the end. Returns the status of `dvc repro`. Raises RecordError where another
    run is at work in this folder.
    """
    config, text = _composed(overrides)
    with _only_run():
        first = FirstVerdictWatch(config)
        with shown_progress(_stages(text)) as progress:
            _prepare(config, text, progress)
            status = _repro(progress, on_idle=first.look)
        if not status:
            _show_result(config, first.shown)
    return status


class FirstVerdictWatch:
    """Shows the first verdict once, as soon as there is a new one."""

    def __init__(self, config: Config):
        self.shown: Verdict | None = None
        """The verdict that was shown."""
        self._config = config
        self._known = _changed_at(FIRST_VERDICT)

    def look(self, progress: RunProgress) -> None:
        """Show the first verdict if it is new."""
        now = _changed_at(FIRST_VERDICT)
        if now is None or now == self._known:
            return
        self._known = now
        self.shown = read_json(FIRST_VERDICT, Verdict)
        rest = [stage for stage in progress.stages_left() if kind_of(stage) not in FIRST_VERDICT_STAGES]
        to_come = parts_to_come(self._config, rest, progress.times)
        progress.clear()
        _show_first(self.shown, to_come, "this run continues with it, and loses nothing if you stop it here")


def _composed(overrides: Sequence[str]) -> tuple[Config, str]:
    """Return the settings, checked, and as the text of params.yaml."""
    text = compose(overrides)
    config = check(yaml.safe_load(text))
    require_packages(config)
    return config, text


@contextmanager
def _only_run() -> Iterator[None]:
    """Hold the folder against another run, which would write the same settings and records."""
    taken = (
        f"another `whether run` or `whether quick` is at work in {Path.cwd()}: wait for its end, or stop it; this one"
        " has changed nothing"
    )
    with exclusive_lock(LOCK, lambda: RecordError(taken)):
        yield


def _stages(text: str) -> list[str]:
    """Return the stages of a run with these settings, the text of params.yaml."""
    return stage_names(Path("dvc.yaml"), yaml.safe_load(text))


def _prepare(config: Config, text: str, progress: RunProgress) -> None:
    """Begin the log, fetch what is missing and write params.yaml."""
    write_text(LOG, "")
    let_dvc_work()  # before data/ is looked for in DVC's cache
    with progress.step("fetching"), _downloads_in_log():
        fetch_all(config)
    write_params(text)


@contextmanager
def _downloads_in_log() -> Iterator[None]:
    """Keep in the log what pip prints meanwhile, and say where it is if a download fails."""
    sources, handler = logging.getLogger("whether.sources"), logging.FileHandler(LOG, encoding="utf-8")
    level = sources.level
    sources.addHandler(handler)
    sources.setLevel(logging.DEBUG)
    try:
        yield
    except SourceError as error:
        if LOG.stat().st_size:
            raise SourceError(f"{error}\neverything that was printed: {LOG}") from error
        raise
    finally:
        sources.removeHandler(handler)
        sources.setLevel(level)
        handler.close()


def _show_first(verdict: Verdict, to_come: str, what_next: str) -> None:
    """Print the verdict that the arms alone give, and what is not measured yet."""
    from whether.report.terminal import print_verdict

    print_verdict(verdict)
    print(f"\nThis is the first verdict, from the arms alone. {to_come}; {what_next}.\n", flush=True)


def _show_result(config: Config, first: Verdict | None) -> None:
    """Bring MLflow up to date and print the verdict, after what it changes against the first one if that was shown."""
    from whether.cli.publish import publish_if_changed
    from whether.report.terminal import print_verdict

    # The stage `publish` ran already or came from the cache; a server or database that was away then is caught up here.
    receipt = publish_if_changed(config)
    verdict = read_json(VERDICT, Verdict)
    if first is not None:
        print("\nSince the first verdict\n")
        for line in what_changed(first, verdict):
            say(fill(line, get_terminal_size().columns, initial_indent="  • ", subsequent_indent="    "))
    print_verdict(verdict)
    print(f"\nreport   {REPORT}\nverdict  {VERDICT}\nMLflow   `whether ui`, then http://127.0.0.1:5000")
    model = receipt.models.get(verdict.recommended_arm or "")
    if model:
        print(f'model    mlflow.pyfunc.load_model("models:/{model}")')


def _changed_at(file: Path) -> int | None:
    """Return when a file was last changed, in nanoseconds; None where it is not there."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _repro(progress: RunProgress, *targets: str, on_idle: Callable[[RunProgress], None] = lambda _: None) -> int:
    """Run `dvc repro` on the settings just composed and return its status; the terminal shows how far it is.

    `on_idle` is called again and again meanwhile, and once at the end.
    """

    def idle() -> None:
        on_idle(progress)
        progress.tick()

    status = reproduce(LOG, *targets, on_line=progress.handle_line, on_idle=idle)
    progress.end(status, LOG)
    on_idle(progress)
    return status


def report() -> None:
    """Print where the report of the last run is. Raises RecordError where there is none."""
    if not REPORT.exists():
        raise RecordError(f"{REPORT} is not there yet: `whether run` makes it")
    print(REPORT.resolve())


def fetch(overrides: Sequence[str]) -> None:
    """Fetch what a run reads from outside, and check what is there: data/, packages, data sets of the hub."""
    from whether.cli.settings import last_or_composed

    config = last_or_composed(overrides)
    let_dvc_work()
    fetch_all(config)
