"""How a command line is read, and what is said of one that is not understood."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsing import read

from whether.cli.grammar import is_setting, set_apart
from whether.errors import UsageError

OPTIONS = {"--rows": True, "--json": False}


@given(st.lists(st.text().filter(lambda word: not word.startswith("-"))))
def test_each_word_is_a_setting_or_another_in_its_order(words: list[str]) -> None:
    others, settings = set_apart(words, OPTIONS)
    assert settings == [word for word in words if is_setting(word)]
    assert others == [word for word in words if not is_setting(word)]


@pytest.mark.parametrize("word", ["task=fever", "a=", "=b", "x=http://y/z", "~robustness", "+new=1", "data/rows=1.csv"])
def test_a_word_with_an_equals_sign_is_a_setting(word: str) -> None:
    assert is_setting(word)


@pytest.mark.parametrize("word", ["knn", "rows.csv", "https://x/v1?api-version=2", ""])
def test_other_words_are_not(word: str) -> None:
    assert not is_setting(word)


def test_an_option_keeps_its_value_whatever_that_is() -> None:
    assert set_apart(["--rows", "a=b", "c=d", "--json", "e"], OPTIONS) == (["--rows", "a=b", "--json", "e"], ["c=d"])
    assert set_apart(["--rows=a", "c=d", "--rows"], OPTIONS) == (["--rows=a", "--rows"], ["c=d"])


def test_words_after_two_dashes_are_names() -> None:
    assert set_apart(["a=b", "--", "c=d", "--nothing"], OPTIONS) == (["--", "c=d", "--nothing"], ["a=b"])
    assert str(read(["predict", "--", "a=b.jsonl"])["file"]) == "a=b.jsonl"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run", {"settings": []}),
        ("run task=fever tuner.r=8", {"settings": ["task=fever", "tuner.r=8"]}),
        ("preview seed=1 --rows 2 knn task=fever", {"prompt": "knn", "settings": ["seed=1", "task=fever"], "rows": 2}),
        ("optimise trials=4", {"checkpoint": None, "settings": ["trials=4"]}),
        ("optimise trials=4 lora --write", {"checkpoint": "lora", "settings": ["trials=4"], "write": True}),
        ("price m https://x/v1?a=b", {"model": "m", "url": "https://x/v1?a=b"}),
        ("retrain withdraw 7 task=fever 8", {"runs": [7, 8], "settings": ["task=fever"]}),
        ("verdict --against runs:/a=b --json", {"against": "runs:/a=b", "json": True}),
    ],
)
def test_what_is_understood(line: str, expected: dict[str, Any]) -> None:
    found = read(line.split())
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("verdit", "whether: no verb 'verdit'; did you mean 'verdict'"),
        ("--versoin", "whether: no option '--versoin'; did you mean '--version'"),
        ("--", "whether: a verb is missing; known: docs, estimate"),
        ("retrain", "whether retrain: a verb is missing; known: promote, rollback"),
        ("retrain statsu", "whether retrain: no verb 'statsu'; did you mean 'status'"),
        ("verdict --jsn", "whether verdict: no option '--jsn'; did you mean '--json'"),
        ("verdict --jsn=1", "whether verdict: no option '--jsn'; did you mean '--json'"),
        ("verdict -x", "whether verdict: no option '-x'; "),
        ("verdict --history", "whether verdict: option '--history' requires an argument"),
        ("verdict --history 0", "whether verdict: invalid value for '--history': .*greater than or equal to 1"),
        ("verdict --history many", "whether verdict: invalid value for '--history': .*valid integer"),
        ("verdict --json=1", "whether verdict: option '--json' does not take a value"),
        ("verdict task=fever", "whether verdict: 'task=fever' is a setting, and this verb takes none"),
        ("verdict main", "whether verdict: 'main' is a word too many"),
        ("run fever", "whether run: 'fever' is not a setting: expected one such as tuner.r=8"),
        ("search lora trials", "whether search: 'trials' is not a setting"),
        ("preview task=fever", "whether preview: missing argument 'PROMPT'; see `whether preview --help`"),
        ("export lora out --dtype float16", "whether export: invalid value for '--dtype': .*'float32', 'bfloat16'"),
        ("retrain withdraw night=7", "whether retrain withdraw: missing argument 'RUN'"),
        ("retrain withdraw x", "whether retrain withdraw: invalid value for 'RUN': .*valid integer"),
    ],
)
def test_what_is_not_is_one_line_that_names_what_is_near(line: str, said: str) -> None:
    from whether.cli.app import command

    with pytest.raises(UsageError, match=f"^{said}") as error:
        command(line.split())
    assert "\n" not in str(error.value)
    assert error.value.status == 2
