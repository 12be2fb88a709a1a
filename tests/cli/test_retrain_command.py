"""`whether retrain` in the words of pipelines/retrain.py."""

import sys
from types import SimpleNamespace

import pytest

from pipelines.retrain import parse
from whether.cli.app import command
from whether.errors import UsageError


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run", []),
        ("run --dry-run task=mine", ["--dry-run", "task=mine"]),
        ("run --force --now 2026-01-31T02:00:00Z", ["force=true", "now=2026-01-31T02:00:00Z"]),
        ("run tracking=none --detailed-exit-code", ["--detailed-exit-code", "tracking=none"]),
        ("status", ["action=status"]),
        ("rollback task=mine", ["action=rollback", "task=mine"]),
        ("promote lora-knn", ["action=promote", "arm=lora-knn"]),
        ("withdraw 7 task=mine 8", ["action=withdraw", "run=7,8", "task=mine"]),
    ],
)
def test_the_job_understands_each_verb(line: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []

    def main(given: list[str]) -> int:
        told.append(given)
        return 11

    monkeypatch.setitem(sys.modules, "pipelines.retrain", SimpleNamespace(main=main))
    assert command(["retrain", *line.split()]) == 11
    assert told == [words]
    assert parse(words).overrides == [word for word in words if word.startswith(("task", "tracking"))]


@pytest.mark.parametrize("word", ["action=rollback", "run=7", "force=true", "now=2026-01-31"])
def test_its_own_words_are_not_settings(word: str) -> None:
    with pytest.raises(UsageError, match=f"whether retrain: '{word}' is not a setting"):
        command(["retrain", "run", word])
