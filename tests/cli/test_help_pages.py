"""Help pages: each verb has one, examples are understood, docs/commands.md is made of them, and they come at once."""

import contextlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from parsing import read, verbs

from whether.cli.app import command
from whether.cli.document import PAGE, commands_page, help_pages

ROOT = Path(__file__).parents[2]
PAGES = dict(help_pages())
EXAMPLES = [line.strip() for page in PAGES.values() for line in page.splitlines() if line.startswith("    whether ")]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
LEFT_OUT = re.compile(r"--install-completion|VERB|\.\.\.|…|<verb>")


@pytest.mark.parametrize("verb", list(verbs()), ids=" ".join)
def test_each_verb_has_a_page(verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert command([*verb, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"Usage: {' '.join(['whether', *verb])} ")
    assert shown.err == ""
    page = PAGES[" ".join(["whether", *verb])]
    assert "Verbs:" in page or page.count("\n    whether ") >= 1
    assert command([*verb, "-h"]) == 0
    assert capsys.readouterr().out == shown.out


def test_without_a_word_the_first_page_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert command([]) == command(["--help"]) == 0
    assert capsys.readouterr().out.count("Usage: whether VERB") == 2


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_understood(example: str) -> None:
    read(shlex.split(example.partition(" > ")[0])[1:])


def test_every_example_is_looked_at() -> None:
    assert len(EXAMPLES) >= 25


def commands_in(text: str) -> list[str]:
    """Commands in blocks and in the text, without comments, their continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = re.findall(r"^(?:    )?(whether [^\n]*)", joined, re.MULTILINE)
    found += [re.sub(r"\s+", " ", line) for line in re.findall(r"`(whether [^`]+)`", text)]
    return [re.split(r"\s+# |   | > | && ", line)[0] for line in found if not LEFT_OUT.search(line)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_a_document_are_understood(document: Path) -> None:
    for line in commands_in(document.read_text()):
        words = shlex.split(line)[1:]
        if tuple(words) not in verbs():  # a text may name a verb and no more
            with contextlib.suppress(typer.Exit):  # of --help and --version
                read(words)


def test_documents_hold_commands() -> None:
    assert sum(len(commands_in(document.read_text())) for document in DOCUMENTS) >= 60


def test_the_document_is_up_to_date() -> None:
    assert (ROOT / PAGE).read_text() == commands_page(), "run `python -m whether.cli.document`"


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'mlflow', 'numpy', 'pandas', 'scipy', 'hydra', 'dvc', 'lm_eval', 'matplotlib'}"
    code = (
        "import sys; from whether.cli.app import command; command(['--help']); command(['verdict', '--help']);"
        f"sys.exit(str(found) if (found := {heavy} & set(sys.modules)) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
