import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import parser

from whether.outputs.kinds import answer_reader, lm_eval_match, output_of
from whether.outputs.output import score_answer
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


PIECES = st.sampled_from(
    ["play_music", "Play_Music", "rate_book", "yes", "YES!", "12", "-3", "answer: ", "x", " ", "\n", '"', "'", "`", ".",
     ",", "!", "\t", "\r\n", "é", "ſ", "İ", "\u2028", "\x0b", "<", ">", "**", "Label: ", "<think>", "</think>",
     "</s>", "。"]
)  # fmt: skip
OUTPUTS = st.lists(PIECES, max_size=6).map("".join)
LABELS = ["play_music", "rate_book", "yes!", "yes", "is", "i"]
READ = [
    (replace(TASK, labels=LABELS), "play_music"),
    (replace(TASK, labels=LABELS), "yes"),
    (replace(TASK, labels=["yes", "YES"]), "YES"),
    (text_task(), "x 12"),
    (text_task(r"-?\d+"), "12"),
    (JSON_TASK, '{"intent": "a"}'),
]


@pytest.mark.heavy
@settings(max_examples=300, deadline=None)
@given(output=OUTPUTS | st.sampled_from(['{"intent": "a"}', '```\n{"intent":"a"}\n```', '{"intent":"b"}']))
def test_lm_evals_hook_scores_as_the_score_stage_does(output: str) -> None:
    """What the exported task names as `process_results` reads every kind of output with the reader of the arms."""
    for task, target in READ:
        doc = {"prompt": "", "target": target, "task": json.dumps(asdict(task))}
        expected = score_answer(output_of(task), answer_reader(task)(output).answer, target)
        assert lm_eval_match(doc, [output]) == {"exact_match": expected}, (task, output)
