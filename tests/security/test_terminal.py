"""What rows, labels, answers and servers wrote cannot act on a terminal, and secrets are not shown."""

import io
import json
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from whether import entry
from whether.errors import DataError
from whether.printing.secrets import without_credentials
from whether.printing.terminal import message, printable, say
from whether.report.terminal import print_table

ATTACKS = {
    "title": "\x1b]0;owned\x07", "clear": "\x1b[2J\x1b[H", "hidden": "\x1b[8mhidden\x1b[0m", "C1": "\x9b31mred",
    "overwrite": "error: no\rall is well", "backspace": "no\b\bok", "reversed": "\u202etxt.exe",
    "isolate": "\u2066x\u2069",
    "surrogate": "\ud83d", "own line": "\x1e our message", "NUL": "a\0b", "delete": "\x7f",
}  # fmt: skip
DIRECTION = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def active(text: str) -> set[str]:
    return {
        one for one in text if (unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t") or one in DIRECTION
    }


@given(st.text(st.characters(codec=None, categories=None)))
def test_no_text_acts(text: str) -> None:
    assert not active(printable(text))
    if not active(text):
        assert printable(text) == text


@given(st.dictionaries(st.text(), st.text(st.characters(codec=None))))
def test_json_means_the_same(value: dict[str, str]) -> None:
    for compact in (True, False):
        text = printable(json.dumps(value, ensure_ascii=compact, indent=2))
        assert json.loads(text) == value


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_each_way_out_to_the_terminal(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: list[str]) -> int:
        raise DataError(f"rows.csv, line 3: {attack}")

    with pytest.raises(SystemExit) as status:
        entry.run(fail)
    assert status.value.code == 1
    logging.getLogger("whether.test").warning("the server says %s", attack)
    say(f"answer: {attack}")
    page = io.StringIO()
    print_table(
        ["arm", f"[bold]{attack}"], [[f"{attack}[/nothing]", "[red]1[/red]"]], left=1, console=Console(file=page)
    )
    shown = capsys.readouterr()
    assert not active(shown.out + shown.err + page.getvalue())
    assert "rows.csv, line 3" in shown.err
    assert "the server says" in shown.err
    assert "[/nothing]" in page.getvalue()
    assert "[red]1[/red]" in page.getvalue()


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "aws_secret", "KEY"])
def test_secrets_of_the_environment_are_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "sk-1234567890")
    text = "401: the key sk-1234567890 is wrong at https://user:pass-word@host/v1"
    assert message(text) == without_credentials(text) == "401: the key *** is wrong at https://host/v1"


def test_what_is_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_KEY", "/etc/ssl/key.pem")
    monkeypatch.setenv("SORT_KEY", "label")
    monkeypatch.setenv("MONKEY", "gibbon-gibbon")
    text = "/etc/ssl/key.pem: label gibbon-gibbon, me@example.com"
    assert message(text) == text
