import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import parser

from whether.outputs.kinds import lm_eval_match
from whether.outputs.label import label_pattern
from whether.outputs.text import text_pattern
from whether.records import Task

TASK = Task(
    name="t", output="label", metric="accuracy", instruction="", input_template="", labels=["play_music", "rate_book"],
    schema=None, answer_pattern=None, max_new_tokens=8,
)  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {"intent": {"enum": ["a", "b"]}, "n": {"type": "number"}},
    "required": ["intent"],
    "additionalProperties": False,
}
JSON_TASK = replace(TASK, output="json", labels=[], schema=SCHEMA)


def text_task(pattern: str | None = None) -> Task:
    return replace(TASK, output="text", labels=[], answer_pattern=pattern)


@pytest.mark.parametrize(
    "output",
    [
        "play_music",
        " play_music\n",
        "\n\n  Play_Music.",
        '"play_music"',
        "'play_music'.\nBecause",
        "`PLAY_MUSIC`!",
        "play_music\r\nx",
    ],
)
def test_label_is_read_from_the_first_line(output: str) -> None:
    parsed = parser(TASK)(output, "play_music")
    assert parsed == ("play_music", 1.0)
    assert parsed.valid


@pytest.mark.parametrize(
    "output",
    ["", "  \n", "play_music rate_book", "The intent is play_music", "play_musics", "xplay_music", "no\nplay_music"],
)
def test_anything_else_is_no_label(output: str) -> None:
    parsed = parser(TASK)(output, "play_music")
    assert parsed == (None, 0.0)
    assert not parsed.valid


def test_a_wrong_label_is_valid_and_wrong() -> None:
    assert parser(TASK)("rate_book", "play_music") == ("rate_book", 0.0)


def test_labels_that_are_prefixes_of_each_other_or_hold_punctuation() -> None:
    parse = parser(replace(TASK, labels=["yes", "yes!", "yes, but (maybe)", ":)"]))
    for label in ("yes", "yes!", "yes, but (maybe)", ":)"):
        assert parse(f" {label}", label) == (label, 1.0)


def test_case_counts_where_labels_differ_by_nothing_else() -> None:
    parse = parser(replace(TASK, labels=["us", "US"]))
    assert parse("US", "US") == ("US", 1.0)
    assert parse("us", "US") == ("us", 0.0)
    assert parse("Us", "US") == (None, 0.0)


def test_text_is_the_first_line_to_the_letter() -> None:
    parse = parser(text_task())
    assert parse("\n  It is not.  \nmore", "It is not.") == ("It is not.", 1.0)
    assert parse("it is not.", "It is not.") == ("it is not.", 0.0)
    assert parse(" \n\t", "It is not.") == (None, 0.0)


@pytest.mark.parametrize(
    ("pattern", "output", "answer"),
    [
        (r"-?\d+", "The sum is -12, not 30", "-12"),
        (r"-?\d+", "no number", None),
        (r"answer: (\w+)|(\d+)$", "so 42", "42"),
        (r"answer: (\w*)", "answer: ", None),
        (r"(?s)<(.*)>", "<two\nlines>", "two\nlines"),
    ],
)
def test_text_by_pattern(pattern: str, output: str, answer: str | None) -> None:
    assert parser(text_task(pattern))(output, "?").answer == answer


@pytest.mark.parametrize(
    ("output", "target", "score"),
    [
        ('{"intent": "a"}', '{"intent": "a"}', 1.0),
        ('\n {"intent":\n"a"} \n', '{"intent": "a"}', 1.0),
        ('{"n": 1, "intent": "a"}', '{"intent": "a", "n": 1}', 1.0),
        ('{"intent": "b"}', '{"intent": "a"}', 0.0),
    ],
)
def test_json_is_compared_in_canonical_form(output: str, target: str, score: float) -> None:
    parsed = parser(JSON_TASK)(output, target)
    assert parsed.valid
    assert parsed.score == score


@pytest.mark.parametrize(
    "output",
    [
        '```json\n{"intent": "a"}\n```',
        '{"intent": "a"} I think',
        "{'intent': 'a'}",
        '{"intent": "c"}',
        '{"intent": "a", "extra": 1}',
        '{"intent": "a", "n": NaN}',
        '{"intent": "a", "n": Infinity}',
        '"a"',
        "",
        "[" * 5000,
        '{"intent": "a", "n": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_not_strict_json_or_does_not_fit_is_invalid(output: str) -> None:
    assert parser(JSON_TASK)(output, '{"intent": "a"}') == (None, 0.0)


def lm_eval_score(task: Task, pattern: str, ignore_case: bool, output: str, target: str) -> float:
    """The score that lm-eval's own filter and metric give."""
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    [[answer]] = RegexFilter(pattern).apply([[output]], [{}])
    return float(exact_match_hf_evaluate([answer], [target], ignore_case=ignore_case)["exact_match"])


PIECES = st.sampled_from(
    ["play_music", "Play_Music", "rate_book", "yes", "YES!", "12", "-3", "answer: ", "x", " ", "\n", '"', "'", "`", ".",
     ",", "!", "\t", "\r\n", "é", "ſ", "İ", "\u2028", "\x0b", "<", ">"]
)  # fmt: skip
OUTPUTS = st.lists(PIECES, max_size=6).map("".join)


@pytest.mark.heavy
@settings(max_examples=300, deadline=None)
@given(output=OUTPUTS)
def test_lm_evals_filters_score_as_the_parser_does(output: str) -> None:
    labels = ["play_music", "rate_book", "yes!", "yes", "is", "i"]
    cases = [
        (replace(TASK, labels=labels), label_pattern(labels), True, "play_music"),
        (replace(TASK, labels=labels), label_pattern(labels), True, "yes"),
        (replace(TASK, labels=["yes", "YES"]), label_pattern(["yes", "YES"]), False, "YES"),
        (text_task(), text_pattern(None), False, "x 12"),
        (text_task(r"-?\d+"), r"-?\d+", False, "12"),
        (text_task(r"answer: (\w*)|(x)"), r"answer: (\w*)|(x)", False, "x"),
    ]
    for task, pattern, ignore_case, target in cases:
        expected = lm_eval_score(task, pattern, ignore_case, output, target)
        assert parser(task)(output, target).score == expected, (task, output)


@pytest.mark.heavy
@given(value=st.one_of(st.sampled_from(['{"intent": "a"}', '{"intent":"b"}', "x"]), st.text(max_size=5)))
def test_lm_evals_hook_scores_json_as_the_parser_does(value: str) -> None:
    doc = {"prompt": "", "target": '{"intent": "a"}', "task": json.dumps(asdict(JSON_TASK))}
    assert lm_eval_match(doc, [value])["exact_match"] == parser(JSON_TASK)(value, doc["target"]).score
