"""`whether run`, `quick`, `report` and `fetch`: the pipeline, and the verdict in the terminal."""

from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from whether.cli.progress import FIRST_VERDICT_STAGES, LOG, kind_of, shown_progress, stage_names
from whether.config import Config, check, compose, require_packages, write_params
from whether.errors import RecordError
from whether.records import ARTIFACTS, Verdict, read_json
from whether.repository.repro import reproduce

REPORT = ARTIFACTS / "report" / "report.html"
VERDICT = ARTIFACTS / "compare" / "verdict.json"
FIRST_VERDICT = ARTIFACTS / "quick" / "verdict.json"


def quick(overrides: Sequence[str]) -> int:
    """Run what a first verdict needs, and show it: the arms alone. Returns the status of `dvc repro`."""
    config, stages = _prepare(overrides)
    status = _repro([stage for stage in stages if kind_of(stage) in FIRST_VERDICT_STAGES], "quick")
    if not status:
        _show_first(config, "`whether run` measures the rest")
    return status


def run(overrides: Sequence[str]) -> int:
    """Compose the settings, fetch what is missing, run what is not up to date, publish, and show the verdict.

    What `dvc repro` does, with settings from the command line, data fetched first, the first verdict shown as soon as
    there is a new one, and the result at the end. Returns the status of `dvc repro`.
    """
    config, stages = _prepare(overrides)
    status = _repro(stages, show_new=_first_verdict_watch(config))
    if status:
        return status
    from whether.report.terminal import print_verdict
    from whether.tracking.candidates import registered_arms
    from whether.tracking.publish import publish

    # The stage `publish` ran already or came from the cache; a server or database that was away then is caught up here.
    receipt = publish(config, ARTIFACTS, registered_arms(config, ARTIFACTS), strict=False)
    verdict = read_json(VERDICT, Verdict)
    print_verdict(verdict)
    print(f"\nreport   {REPORT}\nverdict  {VERDICT}\nMLflow   `whether ui`, then http://127.0.0.1:5000")
    model = receipt.models.get(verdict.recommended_arm or "")
    if model:
        print(f'model    mlflow.pyfunc.load_model("models:/{model}")')
    return 0


def _prepare(overrides: Sequence[str]) -> tuple[Config, list[str]]:
    """Compose the settings, fetch what is missing and write params.yaml; return the settings and the stages."""
    from whether.sources.fetch import fetch_all

    text = compose(overrides)
    values = yaml.safe_load(text)
    config = check(values)
    require_packages(config)
    fetch_all(config)
    write_params(text)
    return config, stage_names(Path("dvc.yaml"), values)


def _show_first(config: Config, what_next: str) -> None:
    """Print the verdict that the arms alone give, and what is not measured yet."""
    from whether.report.terminal import print_verdict

    print_verdict(read_json(FIRST_VERDICT, Verdict))
    rest = ["general ability kept and speed (benchmark)"]
    rest += ["other formats and samples (robustness)"] if config.robustness.examples else []
    rest += ["the learning curve"] if config.curve.labels else []
    print(f"\nThis is the first verdict, from the arms alone. Not measured yet: {', '.join(rest)}; {what_next}.\n")


def _first_verdict_watch(config: Config) -> Callable[[Callable[[], None]], None]:
    """Return what prints the first verdict once, as soon as there is a new one; it is given what makes room for it."""
    known = _changed_at(FIRST_VERDICT)

    def look(make_room: Callable[[], None]) -> None:
        nonlocal known
        now = _changed_at(FIRST_VERDICT)
        if now is not None and now != known:
            known = now
            make_room()
            _show_first(config, "this run continues with it, and loses nothing if you stop it here")

    return look


def _changed_at(file: Path) -> int | None:
    """Return when a file was last changed, in nanoseconds; None where it is not there."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _repro(
    stages: Sequence[str], *targets: str, show_new: Callable[[Callable[[], None]], None] = lambda _: None
) -> int:
    """Run `dvc repro` on the settings just composed and return its status; the terminal shows how far it is.

    `show_new` is called again and again meanwhile.
    """
    with shown_progress(stages) as progress:

        def idle() -> None:
            show_new(progress.clear)
            progress.tick()

        status = reproduce(LOG, *targets, on_line=progress.handle_line, on_idle=idle)
        progress.end(status, LOG)
    show_new(progress.clear)
    return status


def report() -> None:
    """Print where the report of the last run is. Raises RecordError where there is none."""
    if not REPORT.exists():
        raise RecordError(f"{REPORT} is not there yet: `whether run` makes it")
    print(REPORT.resolve())


def fetch(overrides: Sequence[str]) -> None:
    """Fetch what a run reads from outside, and check what is there: data/, packages, data sets of the hub."""
    from whether.cli.settings import last_or_composed
    from whether.sources.fetch import fetch_all

    fetch_all(last_or_composed(overrides))
