"""The help pages of the command `whether` as a document: `python -m whether.cli.document` writes docs/commands.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from whether import entry
from whether.cli.app import app
from whether.records import write_text

PAGE = Path("docs/commands.md")
WIDTH = 100
"""Columns of a help page here; in a terminal it is as wide as the terminal."""
_INTRODUCTION = """# Commands

One command, `whether`, in one style: `whether VERB [NAME] [setting=value ...] [--option ...]`. `make env` installs it
into `.venv` (`source .venv/bin/activate`), `pip install` of the wheel into an environment of yours. It works in the
root of the repository, and of a project that `whether new` has made. `python -m whether.cli` is the same command.

- A word with `=` is a Hydra override, whatever the verb: `task=fever`, `tuner.r=8`, `prompt=[zero_shot,knn]`. Names,
  settings and options may stand in any order after the verb. A name that holds a `=` goes after `--`. Where the
  shell is zsh, a word with brackets is quoted: `'prompt=[zero_shot,knn]'`.
- What is not understood is one line on standard error that names what is near, and exit status 2. Other errors end
  with 1, Ctrl-C with 130, SIGTERM with 143.
- `whether --install-completion` completes verbs and options in your shell.

A stage of the pipeline is not a verb: `dvc repro <stage>` runs it.

This page is written by `python -m whether.cli.document`.
"""


def main(_: list[str]) -> None:
    """Write the page."""
    write_text(PAGE, commands_page())


def commands_page() -> str:
    """Return the page: an introduction, then the help of each verb."""
    return _INTRODUCTION + "".join(f"\n## {path}\n\n```\n{page}\n```\n" for path, page in help_pages())


def help_pages() -> Iterator[tuple[str, str]]:
    """Yield each command, such as "whether retrain run", and its help page."""
    context: Any = get_command(app).make_context("whether", [], resilient_parsing=True, terminal_width=WIDTH)
    yield from _pages(context)


def _pages(context: Any) -> Iterator[tuple[str, str]]:
    page = "\n".join(line.rstrip() for line in context.command.get_help(context).splitlines())
    yield context.command_path, page
    for name, verb in vars(context.command).get("commands", {}).items():
        yield from _pages(verb.make_context(name, [], parent=context, resilient_parsing=True))


if __name__ == "__main__":
    entry.run(main)
