from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whether.config import SourceConfig, TaskConfig
from whether.errors import ConfigError, DataError
from whether.prepare.labels import LabelSpelling, one_spelling, respelled
from whether.prepare.rows import SourceRow, read_examples
from whether.prepare.spelling import folded, shown, variants
from whether.records import Example


def task(**changed: Any) -> TaskConfig:
    settings: dict[str, Any] = {
        "name": "t", "source": SourceConfig(path="rows.csv"), "inputs": {"text": "text"}, "target": "label",
        "output": "label", "instruction": "Answer.",
    }  # fmt: skip
    return TaskConfig(**(settings | changed))


def rows(*targets: str) -> list[SourceRow]:
    return [SourceRow(line, Example(str(line), {"text": str(line)}, target)) for line, target in enumerate(targets, 2)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Refund", "REFUND"),
        ("refund", "refund\u200b"),
        ("\ufeffrefund", "refund"),
        ("re\u00adfund", "refund"),
        ("r\u00e9clamation", "re\u0301clamation"),
        ("OK", "\uff2f\uff2b"),
        ("order  status", "order status"),
        ("order\u00a0status", "order status"),
        ("STRASSE", "straße"),
        ("1", "1.0"),
        ("2.50", "2.5"),
    ],
)
def test_spellings_of_one_label(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("refund", "refunds"), ("a-b", "a b"), ("1", "1.5"), ("10", "1"), ("é", "e"), ("order status", "orderstatus")],
)
def test_different_labels(one: str, other: str) -> None:
    assert folded(one) != folded(other)


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)


def test_variants_are_listed_in_their_order() -> None:
    assert variants(["b", "Ab", "c", "aB", "ab", "B", "Ab"]) == [["b", "B"], ["Ab", "aB", "ab"]]


def test_variants_are_an_error_that_shows_them_and_the_setting() -> None:
    with pytest.raises(DataError) as raised:
        one_spelling(task(), rows("Refund", "delivery", "refund", "refund", "caf\u00e9", "cafe\u0301"))
    text = str(raised.value)
    assert "'Refund' (1 rows, first in line 2), 'refund' (2 rows, first in line 4)" in text
    assert r"'caf\xe9'" in text
    assert r"'cafe\u0301'" in text
    assert "normalise_labels: true" in text
    assert "delivery" not in text


def test_the_most_frequent_spelling_stays() -> None:
    table = rows("Refund", "delivery", "refund", "refund")
    spelling = one_spelling(task(normalise_labels=True), table, rows("Refund", "Refund", "NEW", "New", "New"))
    assert spelling == {"Refund": "refund", "NEW": "New"}
    assert [row.example.target for row in respelled(table, spelling)] == ["refund", "delivery", "refund", "refund"]


def test_what_the_task_lists_is_as_it_is() -> None:
    assert one_spelling(task(labels=["Ok", "OK"]), rows("Ok", "OK")) == {}


def test_a_task_without_labels_has_nothing_to_merge() -> None:
    assert one_spelling(task(output="text"), rows("Yes", "yes")) == {}
    with pytest.raises(ConfigError, match=r"task\.normalise_labels: output: text has no list of labels"):
        one_spelling(task(output="text", normalise_labels=True), rows("Yes", "yes"))


def test_labels_of_the_task_give_the_spelling(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\na,Refund\nb,delivery \nc,REFUND\n")
    settings = {"source": SourceConfig(path=str(file)), "labels": ["refund", "delivery"]}
    found = read_examples(task(**settings, normalise_labels=True)).rows
    assert [row.example.target for row in found] == ["refund", "delivery", "refund"]
    with pytest.raises(DataError, match=r"line 2: label 'Refund' is not among task\.labels; did you mean 'refund'"):
        read_examples(task(**settings))


def test_a_label_that_arrives_in_another_spelling() -> None:
    known = LabelSpelling(task(), ["refund"])
    known.check("refund")
    known.check("New")
    for label, other in (("Refund", "refund"), ("NEW", "New")):
        with pytest.raises(ValueError, match=f"label '{label}' differs from '{other}' only by case.*normalise_labels"):
            known.check(known.known(label))
    merging = LabelSpelling(task(normalise_labels=True), ["refund"])
    assert merging.known("REFUND") == "refund"
    assert merging.known("other") == "other"
    LabelSpelling(task(output="text"), ["Yes"]).check("yes")


def test_what_is_not_seen_is_shown() -> None:
    assert shown("ok") == "'ok'"
    assert r"\u200b" in shown("ok\u200b")
