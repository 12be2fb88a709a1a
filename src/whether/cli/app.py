"""The command `whether`: its verbs, what each of them takes, and its help pages.

Only what a verb needs is imported, when it runs: help comes at once. What the verbs do is in the other files of this
package; docs/commands.md shows the help pages (`python -m whether.cli.document` writes it).
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from typer.main import get_command

from whether import __version__, entry
from whether.cli.grammar import PassedVerb, Settings, Verb, examples, group, one_only, overrides
from whether.cli.retrain import retraining
from whether.errors import RecordError, UsageError

app = group(
    "Prompt, fine-tune or both? Measured on your own task, with an interval and a price.",
    "A word with = is a setting of conf/, as Hydra reads it: task=fever, tuner.r=8, prompt=[zero_shot,knn]."
    " `whether VERB --help` has examples.",
)
Write = Annotated[bool, typer.Option("--write", help="also write the file below conf/, where a run can select it")]
Restart = Annotated[bool, typer.Option("--restart", help="forget what an earlier search has found")]


def main(*verb: str) -> NoReturn:
    """Run the command line of this process, after the words of `verb`, and exit."""
    if not sys.flags.safe_path and str(Path.cwd()) not in sys.path:
        # As `python -m` does: settings may name functions in files of the repository, and retraining is one of them.
        sys.path.insert(0, str(Path.cwd()))
    if os.environ.get("_WHETHER_COMPLETE"):  # the shell asks; typer answers and exits
        get_command(app).main(prog_name="whether")
    entry.run(lambda argv: command([*verb, *argv]))


def command(argv: Sequence[str]) -> int | None:
    """Do what a command line says and return its exit status, None for 0.

    Raises UsageError for words that are not understood, other errors of the project for what goes wrong.
    """
    try:
        context = get_command(app).make_context("whether", list(argv) or ["--help"])
        with context:
            status: int | None = context.command.invoke(context)
            return status
    except typer.Exit as end:
        return end.exit_code
    except OSError as error:
        if error.filename is None:  # not about a file: a full disk, or a pipe that nobody reads
            raise
        raise RecordError(f"{error.filename}: {error.strerror}") from error


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"whether {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """Words before the verb."""


@app.command(cls=Verb, epilog=examples("whether new my-project", "whether new my-project --task tickets"))
def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the new folder: not there yet, or empty")],
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="the task that runs if none is named; snips if nothing is said")
    ] = None,
) -> None:
    """Make a project: a folder with settings, flow and examples of its own.

    It is a git and DVC repository in which the other verbs work. Its README.md says how to go on.
    """
    from whether.cli.new import make_project

    make_project(folder, task)


@app.command(cls=Verb, epilog=examples("whether upgrade --dry-run", "whether upgrade"))
def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what it would do; nothing is written")] = False,
) -> None:
    """Bring a project the flow and settings of the installed version.

    For a project that `whether new` of another version made, after `pip install --upgrade`. What is as it was shipped
    is replaced. What you edited gets both changes, or stays, with the newer one next to it as <name>.new, where they
    touch the same lines.
    """
    from whether.cli.upgrade import upgrade_project

    upgrade_project(dry_run)


@app.command(cls=Verb, epilog=examples("whether run", "whether run task=fever tuner.r=8", "whether run curve=none"))
def run(settings: Settings = None) -> int:
    """Run all that is not up to date, and show the verdict.

    Composes the settings, fetches data and model, runs `dvc repro` and publishes to MLflow. Settings that are not named
    have the values of conf/. The first verdict is shown as soon as the arms have answered, with the minutes that are
    still to come; the end says what changed since. One run at a time in a folder; .state/run.log has all that was
    printed.
    """
    from whether.cli.run import run

    return run(overrides(settings))


@app.command(cls=Verb, epilog=examples("whether quick", "whether quick task=fever prompt=[zero_shot,knn]"))
def quick(settings: Settings = None) -> int:
    """Run what a first verdict needs, and show it: the arms alone.

    Robustness, benchmarks and the learning curve are left to `whether run`, which continues from there.
    """
    from whether.cli.run import quick

    return quick(overrides(settings))


@app.command(cls=Verb, epilog=examples("whether fetch", "whether fetch task=fever"))
def fetch(settings: Settings = None) -> None:
    """Fetch data and model, checked against their hashes.

    For the settings of the last run, or for those of conf/ with the ones that are named.
    """
    from whether.cli.run import fetch

    fetch(overrides(settings))


@app.command(cls=Verb, epilog=examples("whether report"))
def report() -> None:
    """Print where the HTML report of the last run is."""
    from whether.cli.run import report

    report()


@app.command(
    cls=Verb,
    epilog=examples(
        "whether verdict", "whether verdict --against main", "whether verdict --rev v1.2 --json",
        "whether verdict --history 20 --page trend.html",
    ),
)  # fmt: skip
def verdict(
    *,
    json: Annotated[bool, typer.Option("--json", help="one JSON object, for scripts")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown, for a pull request")] = False,
    rev: Annotated[
        str | None,
        typer.Option(metavar="REVISION", help="the verdict of this git revision, runs:/<id> of MLflow, or folder"),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="REVISION", help="what changed since: a git revision, runs:/<id> or folder")
    ] = None,
    history: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="the verdicts of the last N commits that changed dvc.lock")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="with --history: an HTML page with a picture")
    ] = None,
) -> None:
    """Show the verdict again, or an earlier one, and what changed.

    A revision's verdict comes from DVC's cache; if it is not there, `dvc fetch --all-commits artifacts/compare` gets it
    from the remote.
    """
    from whether.cli.verdict import show_history, show_verdict

    one_only("whether verdict", json=json, markdown=markdown, page=page)
    form: Literal["terminal", "json", "markdown"] = "json" if json else "markdown" if markdown else "terminal"
    if history is not None:
        one_only("whether verdict", history=history, rev=rev, against=against)
        show_history(form, history, page)
    elif page:
        raise UsageError("whether verdict: --page goes with --history; `whether report` says where the report is")
    else:
        show_verdict(form, rev, against)


@app.command(
    cls=Verb,
    epilog=examples("whether predict rows.jsonl > answers.jsonl", "whether predict rows.csv --bundle 3f2a9c1b"),
)
def predict(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, JSON, Parquet or Excel with the columns that the task reads")
    ],
    bundle: Annotated[
        str | None, typer.Option(metavar="ID", help="another folder of retrain/bundles/ than the champion's")
    ] = None,
) -> None:
    """Answer the rows of a file with the champion of retraining.

    Prints a JSON line for each row, in their order: inputs, answer, valid, output.
    """
    from whether.cli.predict import predict

    predict(file, bundle)


@app.command(
    cls=Verb, epilog=examples("whether estimate checkpoint=[base,served]", "whether estimate prompt=[zero_shot,knn]")
)
def estimate(settings: Settings = None) -> int:
    """Say what asking the served models would cost; send nothing.

    The exit status is 1 if that is more than their max_cost allows.
    """
    from whether.cli.costs import estimate

    return estimate(overrides(settings))


@app.command(
    cls=Verb,
    epilog=examples(
        "whether price gpt-4o-mini", "whether price llama-3.3-70b-versatile https://api.groq.com/openai/v1"
    ),
)
def price(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="as its provider calls it")],
    url: Annotated[str | None, typer.Argument(metavar="URL", help="the address it is asked at")] = None,
) -> None:
    """Print a served model's price, to be copied into its file.

    From the list that the package genai-prices ships; the file is conf/checkpoint/<name>.yaml.
    """
    from whether.cli.costs import price

    price(model, url)


@app.command(
    cls=Verb, epilog=examples("whether preview knn", "whether preview few_shot prompts.few_shot.strategy.examples=2")
)
def preview(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="a file of conf/prompt, without .yaml")],
    settings: Settings = None,
    rows: Annotated[int, typer.Option(metavar="N", min=1, help="how many rows of dev; 3 if nothing is said")] = 3,
) -> None:
    """Show what a prompt asks; no model runs.

    Prints the first rows of dev in the model's chat template, each with its tokens and the right answer.
    """
    from whether.cli.preview import show_prompt

    show_prompt(prompt, overrides(settings), rows)


@app.command(cls=Verb, epilog=examples("whether search lora", "whether search lora trials=40 space.epochs=null"))
def search(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="whose tuner is varied, such as lora")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="setting=value", help="of conf/search, such as trials=40 minutes=60")
    ] = None,
    write: Write = False,
    restart: Restart = False,
) -> None:
    """Search for better tuner settings, on dev.

    The same command continues a search that was interrupted.
    """
    from whether.cli.search import search_settings

    search_settings(checkpoint, overrides(settings), write=write, restart=restart)


@app.command(
    cls=Verb,
    epilog=examples("whether optimise", "whether optimise candidates=96 minutes=30", "whether optimise lora --write"),
)
def optimise(
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="CHECKPOINT", help="which model answers; base if nothing is said")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="setting=value", help="of conf/optimise, such as candidates=96 minutes=30"),
    ] = None,
    write: Write = False,
    restart: Restart = False,
) -> None:
    """Search for a better prompt, on dev.

    The same command continues a search that was interrupted.
    """
    from whether.cli.optimise import optimise_prompt

    optimise_prompt(checkpoint, overrides(settings), write=write, restart=restart)


@app.command(
    cls=Verb, epilog=examples("whether export lora exported/lora", "whether export lora exported/lora --dtype bfloat16")
)
def export(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="a tuned checkpoint, such as lora")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="where to: not there yet, or empty")],
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(metavar="TYPE", help="of the weights: float32 or bfloat16; if nothing is said, that of training"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace a model folder that is there")] = False,
) -> None:
    """Write a checkpoint as a plain model folder with its card.

    transformers, vLLM, lm-eval and others read it.
    """
    from whether.config import load
    from whether.export.export import export
    from whether.records import ARTIFACTS

    export(checkpoint, load(), artifacts=ARTIFACTS, folder=folder, dtype=dtype, force=force)


@app.command(cls=Verb, epilog=examples("whether publish", "whether publish v1.2 main~3"))
def publish(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(metavar="REVISION", help="git revisions whose records are in DVC's cache"),
    ] = None,
) -> None:
    """Show records in MLflow that it does not have yet.

    Those of the last run, such as after a server was away; or of earlier git revisions, also in an empty server.
    """
    from whether.cli.publish import publish_last, publish_past

    if revisions:
        publish_past(revisions)
    else:
        publish_last()


@app.command(cls=Verb, epilog=examples("whether ui", "whether ui --port 5001"))
def ui(port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="where it listens")] = 5000) -> None:
    """Show the runs in MLflow's pages, until Ctrl-C.

    Those of the embedded database; of an MLflow server, its address is printed.
    """
    from whether.cli.ui import show_runs

    show_runs(port)


@app.command(cls=Verb, epilog=examples("whether docs", "whether docs served"))
def docs(
    page: Annotated[
        str | None, typer.Argument(metavar="PAGE", help="as messages name it: served, docs/served.md")
    ] = None,
) -> None:
    """Print a page of the documentation, or list the pages."""
    from whether.cli.docs import show_page

    show_page(page)


@app.command(
    "lm-eval",
    cls=PassedVerb,
    epilog=examples(
        "whether lm-eval --model whether --model_args pretrained=artifacts/model --tasks hellaswag --limit 50",
        "whether lm-eval run --help",
    ),
)
def lm_eval(context: typer.Context) -> None:
    """Run lm-eval with this project's engine as the model `whether`.

    All words are lm-eval's own.
    """
    from whether.cli.lm_eval import evaluate

    evaluate(context.args)


app.add_typer(retraining, name="retrain")
