"""What the README says is there is there, and its commands are understood."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from whether.config import CONF, check, compose

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line.split("   ")[0].strip() for block in BLOCKS for line in block.splitlines()]
OVERRIDES = [match[1] for command in COMMANDS if (match := re.match(r"whether run (.+)", command))]
OVERRIDES += [" ".join(re.findall(r"-S (\S+)", command)) for command in COMMANDS if command.startswith("dvc exp run")]


@pytest.mark.heavy
@pytest.mark.parametrize("overrides", OVERRIDES)
def test_settings_in_commands_compose(overrides: str) -> None:
    check(yaml.safe_load(compose(shlex.split(overrides), ROOT / CONF)))


def test_there_are_commands_to_check() -> None:
    assert len(OVERRIDES) >= 5
    assert "make run" in COMMANDS


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documents = ("README.md", "AGENTS.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/testing.md")
    for document in documents:
        assert set(re.findall(r"`make ([a-z-]+)", (ROOT / document).read_text())) <= targets, document


def test_the_tree_names_what_there_is() -> None:
    (tree,) = (block for block in BLOCKS if block.startswith("conf/"))
    for line in tree.splitlines():
        folder = ROOT / "src/whether" if line.startswith("  ") else ROOT
        for name in re.split(r"\s{2,}", line.strip())[0].split():
            assert name == "artifacts/" or (folder / name).exists(), name


def test_the_example_of_a_task_is_the_file() -> None:
    (example,) = (block for block in BLOCKS if block.startswith("# conf/task/tickets.yaml"))
    shown = example.split("\n", 1)[1]
    settings = (ROOT / "conf/task/tickets.yaml").read_text()
    assert yaml.safe_load(shown) == yaml.safe_load(settings)
    assert len(settings.splitlines()) <= 15
