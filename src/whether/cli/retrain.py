"""`whether retrain`: the verbs of the scheduled retraining job, which is pipelines/retrain.py.

What they become is the words of that file: see `job`.
"""

import importlib
from collections.abc import Sequence
from typing import Annotated

import typer

from whether.cli.grammar import Settings, Verb, examples, group, overrides
from whether.errors import ConfigError, UsageError

_OWN = ("action", "arm", "run", "force", "now")
"""What it reads in addition to the settings; here these are verbs, arguments and options."""

retraining = group(
    "Retrain on a schedule: new rows, reasons to retrain, a gate, promotion.",
    "The last line on standard output is one JSON object. Exit status: 0 nothing to do, promoted or kept; 1 failed; 3"
    " needs a person; 75 another job is at work. docs/retraining.md has the rest.",
)


@retraining.command(
    "run",
    cls=Verb,
    epilog=examples("whether retrain run", "whether retrain run --dry-run", "whether retrain run --force"),
)
def retrain_run(
    settings: Settings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what it would do, and why")] = False,
    force: Annotated[bool, typer.Option("--force", help="make a challenger whatever the triggers say")] = False,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="as if it were then, to replay the past: 2026-01-31T02:00:00Z")
    ] = None,
    detailed: Annotated[bool, typer.Option("--detailed-exit-code", help="status 10 for promoted, 11 for kept")] = False,
) -> int:
    """Take in new rows, and retrain if there is a reason to.

    Then the challenger is promoted, or the champion kept. Any scheduler can call this: schedules/ has examples.
    """
    words = ["--dry-run"] * dry_run + ["--detailed-exit-code"] * detailed + ["force=true"] * force
    return job(settings, *words, *([f"now={now}"] if now else []))


@retraining.command("status", cls=Verb, epilog=examples("whether retrain status"))
def retrain_status(settings: Settings = None) -> int:
    """Show the champion and the last retraining runs, as JSON."""
    return job(settings, "action=status")


@retraining.command("rollback", cls=Verb, epilog=examples("whether retrain rollback"))
def retrain_rollback(settings: Settings = None) -> int:
    """Let the previous champion answer again; a second time undoes that."""
    return job(settings, "action=rollback")


@retraining.command("promote", cls=Verb, epilog=examples("whether retrain promote base-knn"))
def retrain_promote(
    arm: Annotated[str, typer.Argument(metavar="ARM", help="an arm of the last pipeline run")],
    settings: Settings = None,
) -> int:
    """Let an arm of the last pipeline run be the champion."""
    return job(settings, "action=promote", f"arm={arm}")


@retraining.command("withdraw", cls=Verb, epilog=examples("whether retrain withdraw 7", "whether retrain withdraw 7 8"))
def retrain_withdraw(
    runs: Annotated[list[int], typer.Argument(metavar="RUN", min=1, help="number of a retraining run")],
    settings: Settings = None,
) -> int:
    """Take the rows of retraining runs out of the data.

    Such as rows with wrong labels: they go into quarantine.
    """
    return job(settings, "action=withdraw", f"run={','.join(str(number) for number in runs)}")


def job(settings: Sequence[str] | None, *words: str) -> int:
    """Call the job with words of its own and the settings. Returns its exit status.

    Raises UsageError for a setting that is none, ConfigError where the working folder is not a project.
    """
    for setting in overrides(settings):
        if setting.partition("=")[0] in _OWN:
            raise UsageError(f"whether retrain: {setting!r} is not a setting; `whether retrain --help` lists its verbs")
    try:
        # By name: pipelines/ belongs to the folder that the command runs in and is not part of the package.
        retrain = importlib.import_module("pipelines.retrain")
    except ModuleNotFoundError as error:
        if error.name not in ("pipelines", "pipelines.retrain"):
            raise
        raise ConfigError(
            "pipelines/retrain.py is missing: run this in the root of a project (`whether new DIR` makes one)"
        ) from None
    status: int = retrain.main([*words, *overrides(settings)])
    return status
