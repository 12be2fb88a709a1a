"""Texts that YAML, Hydra or the shell take for something else: one error, with the quotes that work."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from whether.config import CONF, compose
from whether.config.quoting import in_hydra, on_command_line
from whether.config.yaml_lines import in_yaml
from whether.errors import ConfigError

ROOT = Path(__file__).parents[2]
TASK = """\
name: case
source: {path: rows.csv}
inputs: {text: text}
target: label
output: label
instruction: Which of {labels}?
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / CONF, tmp_path / "conf"))


def composed(conf: Path, text: str, *overrides: str) -> dict:
    """Return the task that is composed from the base task with `text` in place of its own settings."""
    keys = re.findall(r"^(\w+):", text, re.MULTILINE)
    kept = [line for line in TASK.splitlines() if line.partition(":")[0] not in keys]
    (conf / "task" / "case.yaml").write_text("\n".join([*kept, text]))
    return yaml.safe_load(compose(["task=case", "baseline=[]", *overrides], conf))["task"]


def refusal(conf: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        composed(conf, text, *overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "spelled", "setting"),
    [
        ("labels: [yes, no]", "yes, no as true, false", 'labels: ["yes", "no"]'),
        ("labels: [007, 08]", "007 as 7", 'labels: ["007", "08"]'),
        ("labels: [1.0, 1e3]", "1.0, 1e3 as 1.0, 1000.0", 'labels: ["1.0", "1e3"]'),
        ("labels:\n  - ~\n  - full", "~ as null", 'labels: ["~", "full"]'),
        ("unseen_labels: [Off]", "Off as false", 'unseen_labels: ["Off"]'),
        ("definitions: {on: it is so}", "on as true", 'definitions: {"on": …}'),
        ("definitions: {a: yes}", "yes as true", 'a: "yes"'),
        ("target: 2024", "2024 as 2024", 'target: "2024"'),
        ("instruction:", "nothing as null", 'instruction: ""'),
    ],
)
def test_what_yaml_reads_as_no_text_is_one_line_with_its_spelling(
    conf: Path, text: str, spelled: str, setting: str
) -> None:
    said = refusal(conf, text)
    assert "\n" not in said
    assert re.match(r"task\.[\w.]+ \(in \S+case\.yaml, line \d+\): YAML reads ", said)
    assert spelled in said
    assert setting in said
    key = setting.partition(":")[0]
    if "…" not in setting and key not in ("a", "instruction", "unseen_labels"):
        value = yaml.safe_load(setting)[key]
        assert composed(conf, setting)[key] == value
        [override] = shlex.split(re.search(r"in a file, (.*) on the command line", said)[1])
        assert composed(conf, "labels: [a, b]" if key == "labels" else "", override)[key] == value


def test_what_hydra_reads_as_no_text_is_not_looked_for_in_the_file(conf: Path) -> None:
    said = refusal(conf, 'labels: ["1", b]', "task.labels=[true,null]")
    assert "texts are needed, not true, null" in said
    assert """'task.labels=["true","null"]'""" in said


@pytest.mark.parametrize(
    "value", ["a: b", "{labels}? Choose", "*bold*", "@x", "%x", "[a] or b", "'It''s' x", "{{ x }}"]
)
def test_a_line_that_is_not_yaml_names_the_quotes(conf: Path, value: str) -> None:
    said = refusal(conf, f"instruction: {value}")
    assert re.search(r"case\.yaml, line \d+, is not YAML", said)
    assert "needs quotes: instruction: " in said
    yaml.safe_load(said.rpartition("needs quotes: ")[2])


def test_a_line_whose_value_is_yaml_has_no_such_hint(conf: Path) -> None:
    assert "quotes" not in refusal(conf, "splits:\n\ttrain: 0.5\n")


@pytest.mark.parametrize("text", ["Is ${price} dear?", "Is ${price dear?", "Is ${} dear?"])
def test_a_reference_that_leads_nowhere_says_how_to_keep_it_as_text(conf: Path, text: str) -> None:
    said = refusal(conf, f"instruction: '{text}'")
    assert said.startswith("task.instruction")
    assert "backslash" in said
    line = re.search(r"before it: (.*) in a file", said)[1]
    assert composed(conf, line)["instruction"] == text


@pytest.mark.parametrize(
    "text",
    [
        "Which one, {labels}?",
        "What's the queue: one",
        'Say "x"',
        "a=b",
        "(a)",
        "x # y",
        "a;b",
        "100%!",
        "a,b",
        "Größe?",
    ],
)
def test_an_override_that_hydra_cannot_read_names_the_quotes(conf: Path, text: str) -> None:
    said = refusal(conf, "", f"task.instruction={text}")
    assert said.startswith("task.instruction=")
    [override, *_] = shlex.split(re.search(r"quotes within quotes: (.*); in a YAML file, ", said)[1])
    assert composed(conf, "", override)["instruction"] == text


PARSER = OverridesParser.create()
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1) | st.text("\\\"'${}[],:=a ", max_size=12)


@given(text=TEXTS)
def test_quotes_for_hydra_and_yaml_keep_every_text(text: str) -> None:
    [word] = shlex.split(on_command_line("key", text))
    assert word == f"key={in_hydra(text)}"
    value = PARSER.parse_override(word).value()
    assert OmegaConf.to_container(OmegaConf.create({"key": value}), resolve=True) == {"key": text}
    assert OmegaConf.to_container(OmegaConf.create(f"key: {in_yaml(text)}"), resolve=True) == {"key": text}


@pytest.mark.parametrize("name", ["tickets", "tickets_2", "2024", "A.b-c", "x" * 60])
def test_a_task_may_have_these_names_and_any_title(conf: Path, name: str) -> None:
    task = composed(conf, f'name: "{name}"\ntitle: "Почта: ein / two"')
    assert (task["name"], task["title"]) == (name, "Почта: ein / two")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Support tickets", "name: support_tickets"),
        ("Rückfragen", "name: ruckfragen"),
        ("mail/inbound", "name: mail_inbound"),
        ("Почта", "a name of Latin letters"),
        ("", "a name of Latin letters"),
        ("..", "a name of Latin letters"),
        ("a..b", "name: a_b"),
        (".a", "name: a"),
        ("a.", "name: a"),
        ("-a", "name: a"),
        ("a\n", "name: a"),
        ("long-" * 60, "name: long_long_long"),
    ],
)
def test_a_name_that_files_or_mlflow_cannot_have_is_refused_with_one_that_they_can(
    conf: Path, name: str, advice: str
) -> None:
    said = refusal(conf, f"name: {in_yaml(name)}")
    assert said.startswith("task.name (in ")
    assert f"write {advice}" in said
    assert "task.title" in said
