"""What is read in outputs that do not have the form asked for, and what is not."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whether.outputs.decoding import greedy, json_answer, self_consistency
from whether.outputs.kinds import answer_reader, output_of
from whether.outputs.reading import Reading, cleaned
from whether.records import LENIENCIES, Generation, Task

TASK = Task(
    name="t", output="label", metric="accuracy", instruction="", input_template="",
    labels=["refund", "delivery", "spam"], schema=None, answer_pattern=None, max_new_tokens=8,
)  # fmt: skip
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
JSON_TASK = replace(TASK, output="json", labels=[], schema=CITY)
TEXT_TASK = replace(TASK, output="text", labels=[])


def read(output: str, *labels: str) -> Reading:
    return answer_reader(replace(TASK, labels=list(labels)) if labels else TASK)(output)


@pytest.mark.parametrize(
    ("output", "leniencies"),
    [
        ("refund", ()),
        ('"Refund".', ()),
        ("refund\n\nnot delivery", ()),
        ("***Refund***", ("markup",)),
        ("__refund__", ("markup",)),
        ("_refund_.", ("markup",)),
        ("## **Refund**", ("markup",)),
        ("• refund", ("markup",)),
        ("+ refund", ("markup",)),
        ("— refund", ("markup",)),
        ("| refund |", ("markup",)),
        ("refund ✅", ("markup",)),
        ("2) refund", ("markup",)),
        ("b. refund", ("markup",)),
        ("> refund", ("markup",)),
        ("→ refund", ("markup",)),
        ("[refund]", ("markup",)),
        ("<refund>", ("markup",)),
        ("<b>refund</b>.", ("markup",)),
        ("$\\boxed{refund}$", ("markup",)),
        ("$\\boxed{\\text{refund}}$", ("markup",)),
        ("re\u00adfund", ("markup",)),
        ("**refund", ("markup",)),
        ("„refund“", ("punctuation",)),
        ("「refund」", ("punctuation",)),
        ("refund؟", ("punctuation",)),
        ("refund।", ("punctuation",)),
        ("ｒｅｆｕｎｄ", ("unicode_form",)),
        ("Sentiment : refund", ("prefix",)),
        ("Predicted label: refund", ("prefix",)),
        ("Final answer = refund", ("prefix",)),
        ("**Category**: `Refund`", ("markup", "prefix")),
        ("The correct category is **refund**.", ("markup", "prefix")),
        ("The category of this message is refund", ("prefix",)),
        ("Label for the message: refund", ("prefix",)),
        ("This is a refund.", ("prefix",)),
        ("This message should be classified as “refund”.", ("punctuation", "prefix")),
        ("I would classify this message as refund.", ("prefix",)),
        ('The message belongs to the "refund" category.', ("prefix",)),
        ("Based on the text, the label is refund.", ("prefix",)),
        ("Therefore, the answer is refund.", ("prefix",)),
        ("Sure! refund", ("prefix",)),
        ("Here is the classification:\n\n- refund", ("markup", "prefix")),
        ("Kategorie: refund", ("prefix",)),
        ("This is classified as: refund", ("prefix",)),
        ("The label that fits best is refund.", ("prefix",)),
        ("The message is about a refund", ("prefix",)),
        ("答案：refund", ("punctuation", "prefix")),
        ("The customer was charged twice.\n\nLabel: refund", ("prefix", "explanation")),
        ("It may be late, or too dear.\nThe answer is refund.", ("prefix", "explanation")),
        ("refund — charged twice", ("explanation",)),
        ("refund; the customer was charged twice", ("explanation",)),
        ("refund because the customer was charged twice", ("explanation",)),
        ("refund -- charged twice", ("explanation",)),
        ("refund! The customer was charged twice", ("explanation",)),
        ("refund。因为重复扣款", ("punctuation", "explanation")),
        ("Label: refund (charged twice)", ("prefix", "explanation")),
        ("**Refund** - charged twice", ("markup", "explanation")),
        ("**refund**\n\nThe customer was charged twice.", ("markup",)),
        ("<thinking>spam? no</thinking>refund", ("thought",)),
        ("[THINK]spam[/THINK]refund", ("thought",)),
        ("<|channel|>analysis<|message|>spam?<|end|><|start|>assistant<|channel|>final<|message|>refund", ("thought",)),
        ("analysisIt may be spam.assistantfinalrefund", ("thought",)),
        ("<think>a</think>**refund**<|im_end|>", ("thought", "end_token", "markup")),
        ("<|im_start|>assistant\nrefund<|im_end|>\n<|im_start|>user\nspam", ("end_token",)),
        ("refund<｜end▁of▁sentence｜>", ("end_token",)),
        ("<s> refund</s>", ("end_token",)),
        ("<label>\nRefund\n</label>", ("tag",)),
        ("<answer>refund", ("tag",)),
        ('{"category": "Refund."}', ("json",)),
        ('{"reason": "not spam at all", "label": "refund"}', ("json",)),
        ('["refund"]', ("json",)),
        ("{'label': 'refund'}", ("json",)),
        ('Here is the JSON:\n{"label": "refund", "confidence": 0.9}', ("json",)),
    ],
)
def test_a_label_is_read_through_what_stands_around_it(output: str, leniencies: tuple[str, ...]) -> None:
    assert read(output) == Reading("refund", leniencies)


@pytest.mark.parametrize(
    "output",
    [
        "not a refund", "non-refund", "un-refund", "refund-related", "refunds", "refund request", "refund policy",
        "**refund** request", "~~refund~~ delivery", "~~refund~~", "<s>refund</s> delivery", "❌ refund", "[ ] refund",
        "[ ] refund\n[x] delivery", "kein refund", "pas refund", "never refund", "hardly a refund", "no, refund",
        "Label: not refund", "The label is not refund.", "The answer is never refund", "The answer isn't refund.",
        "I don't think the answer is refund.", "I do not think this is a refund", "Not: refund", "Excluded: refund",
        "Wrong label: refund", "Other label: refund", "Possible label: refund", "Unlikely category: refund",
        "Question: refund", "Message: refund", "Is the label refund?", "The label is refund?", "Label: refund?",
        "refund?\nNo, delivery.", "refund:\nno\ndelivery:\nyes", "refund: no", "refund (no)", "refund - not likely",
        "refund: 0.1\ndelivery: 0.9", "refund: 20%, delivery: 80%", "refund (or delivery)", "refund - or delivery?",
        "refund & delivery", "refund + delivery", "refund and delivery", "refund; delivery", "refund (delivery)",
        "refund, exchange", "refund - no, delivery", "refund, but I am not sure", "refund, unless it is late",
        "refund, if the box never came", "**refund**\n**delivery**", "- refund\n- delivery\n- spam",
        "1. refund\n2. delivery", "refund: money back\ndelivery: parcels\nspam: advertising", "refund -> delivery",
        "Label: refund or delivery", "Label: refund, delivery", "Labels: refund, delivery, spam",
        "Label: refund\nLabel: delivery", "The label is either refund or delivery.", "The answer is refund or spam",
        "It could be a refund.", "Maybe refund", "✅ refund or delivery", "refund because or delivery",
        "The label that does not fit is refund.", "The message is not about a refund", "{'answer': 'not refund'}",
        "Perhaps: refund", "If money is asked for:\nLabel: refund",
        "The refund is spam", "The customer wants a refund.", "A refund", "I cannot say whether this is a\nrefund",
        "<think>refund", "<think>refund\n", "<think>a</think>", "<think>a</think>not refund",
        "<answer>refund</answer> or <answer>delivery</answer>", "<answer>not refund</answer>",
        '{"answer": "not refund"}', '{"not": "refund"}', '{"refund": true, "delivery": false}',
        '{"label": "refund", "alternative": "delivery"}', '{"answer": "refund"} {"answer": "delivery"}',
        'It is not {"label": "refund"}', '{"text": ["refund", "spam"]}', "null", "{}", "[]",
    ],
)  # fmt: skip
def test_what_may_be_another_answer_is_not_read(output: str) -> None:
    assert read(output).answer is None


@pytest.mark.parametrize(
    ("labels", "output", "answer"),
    [
        (["-1", "0", "1"], "-1", "-1"),
        (["0", "1"], "-1", None),
        (["-1", "0", "1"], "**-1**", "-1"),
        (["1", "2"], "1.5", None),
        (["1", "2"], "1%", None),
        (["1", "2"], "$1", None),
        (["1", "2"], "1st", None),
        (["1", "2"], "4/5", None),
        (["1", "2"], "1, 2", None),
        (["1", "2"], "1 - 2", None),
        (["1", "2"], "1. The box is late", "1"),
        (["1", "10"], "Rating: 10", "10"),
        (["1", "10"], "2. 10", "10"),
        (["A", "B", "C"], "A*", None),
        (["A", "B", "C"], "A+", None),
        (["A", "B", "C"], "A-", None),
        (["A", "B", "C"], "A, B", None),
        (["A", "B", "C"], "A. B. C.", None),
        (["A", "B", "C"], "Option B", "B"),
        (["A", "B", "C"], "(B) A box is late", "B"),
        (["A", "B", "C"], "B) A box is late", "B"),
        (["A", "B", "C"], "The answer is B.", "B"),
        (["A", "B", "C"], "The answer is a secret.", None),
        (["C", "C++", "C#"], "**C++**", "C++"),
        (["C", "C++", "C#"], "The language is C#.", "C#"),
        (["C", "C++", "C#"], "C++ or C#", None),
        (["yes", "no"], "Yes, the customer has no parcel", "yes"),
        (["yes", "no"], "Yes, or no", None),
        (["yes", "no"], "No, I cannot answer that.", None),
        (["yes", "no"], "No, because it came late.", "no"),
        (["yes", "no"], "No problem", None),
        (["yes", "no"], "yes/no", None),
        (["yes", "no"], "Answer: No.", "no"),
        (["true", "false"], '{"answer": true}', "true"),
        (["true", "false"], "not false", None),
        (["1", "2"], '{"label": 2}', "2"),
        (["spam", "not spam"], "**Not spam**", "not spam"),
        (["spam", "not spam"], "not spam – this is not spam", "not spam"),
        (["spam", "not spam"], "spam - this is not spam", None),
        (["spam", "ham"], "not spam", None),
        (["bill", "billing"], "bill - a billing question", None),
        (["us", "US"], "**US**", "US"),
        (["us", "US"], "**Us**", None),
        (["us", "US"], "Label: us", "us"),
        (["play_music", "rate_book"], "Play music", "play_music"),
        (["play_music", "play music"], "Play-music", None),
        (["play_music", "rate_book"], "play_musics", None),
        (["yes, but", "yes"], "Yes, but.", "yes, but"),
        (["__init__", "init"], "init", "init"),
        (["__init__", "init"], "__init__", "__init__"),
        (["__init__", "other"], "**__init__**", "__init__"),
        ([":)", ":("], "**:)**", ":)"),
        (["other", "refund"], "Other. I need more.", "other"),
        (["退款", "物流"], "**退款**", "退款"),
        (["退款", "物流"], "退款。", "退款"),
        (["退款", "物流"], "标签：退款", "退款"),
        (["退款", "物流"], "退款或物流", None),
        (["退款", "物流"], "不是退款", None),
        (["退款", "物流"], "退款，物流", None),
        (["возврат", "доставка"], "Ответ: **Возврат**", "возврат"),
        (["возврат", "доставка"], "не возврат", None),
        (["İstanbul", "Ankara"], "**İstanbul**", "İstanbul"),
        (["non\u2011refund", "refund"], "**non-refund**", "non\u2011refund"),
        (["don’t know", "know"], "Don't know.", "don’t know"),
    ],
)  # fmt: skip
def test_labels_of_every_shape(labels: list[str], output: str, answer: str | None) -> None:
    assert read(output, *labels).answer == answer


@given(output=st.text(max_size=60))
def test_what_has_the_form_is_read_as_the_strict_rule_reads_it(output: str) -> None:
    for task in (TASK, replace(TASK, labels=["0", "a", "A b"])):
        exact, found = output_of(task).parse(output), answer_reader(task)(output)
        assert exact is None or found == Reading(exact)
        assert {*found.leniencies} <= {*LENIENCIES}
        assert found.answer is None or found.answer in task.labels


@given(words=st.lists(st.sampled_from(["refund", "delivery", "spam", "or", "-", ",", "the", "is", "label:", "no"])))
def test_a_label_that_is_read_is_named(words: list[str]) -> None:
    found = read(" ".join(words)).answer
    assert found is None or found in words


@given(label=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12))
def test_marks_around_any_label_change_nothing(label: str) -> None:
    labels = (label, "another label")
    for output in (f"**{label}**", f"Label: {label}", f"<think>x</think>{label}", f'{{"label": "{label}"}}'):
        assert read(output, *labels).answer == label


def test_many_outputs_take_seconds() -> None:
    outputs = ["**refund**", "The answer is: refund.", "refund - charged twice", "word " * 400] * 250
    reader = answer_reader(TASK)
    begin = time.perf_counter()
    for output in outputs:
        reader(output)
    assert time.perf_counter() - begin < 3


@pytest.mark.parametrize(
    "sign", ["<think>", "(", "{", "[1,", "*", "_a", "- ", "\\boxed{", "<answer>", "```", "1. ", "\n- refund"]
)
def test_no_output_takes_long(sign: str) -> None:
    begin = time.perf_counter()
    read(sign * 5000)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    ("output", "text", "leniencies"),
    [
        ("plain", "plain", ()),
        ("a < b and [c]", "a < b and [c]", ()),
        ("<think>a</think> b", " b", ("thought",)),
        ("b <think>a</think>", "b ", ("thought",)),
        ("<think>a", "", ("thought",)),
        ("<think>a</think>b<think>c", "b", ("thought",)),
        ("b</s></s>", "b", ("end_token",)),
        ("<s>old</s> new", "<s>old</s> new", ()),
        ("assistant\nb", "b", ("end_token",)),
    ],
)
def test_thought_and_tokens_of_turns_are_left_out(output: str, text: str, leniencies: tuple[str, ...]) -> None:
    assert cleaned(output) == (text, leniencies)


def test_text_is_read_after_a_thought_and_in_its_composed_form() -> None:
    reader = answer_reader(TEXT_TASK)
    assert reader("<think>\nFrance\n</think>\n\nParis\nmore") == Reading("Paris", ("thought",))
    assert reader("Paris<|eot_id|>") == Reading("Paris", ("end_token",))
    assert reader("**Paris**") == Reading("**Paris**")
    assert reader("<think>").answer is reader("<think>a</think>").answer is reader("").answer is None
    assert reader("Zu\u0308rich") == Reading("Zürich")
    tagged = answer_reader(replace(TEXT_TASK, answer_pattern=r"<think>(.*)</think>"))
    assert tagged("<think>a</think>b") == Reading("a")


def test_a_text_target_that_could_never_be_read_is_refused() -> None:
    kind = output_of(TEXT_TASK)
    assert kind.parse_target("Zu\u0308rich") == "Zu\u0308rich"
    with pytest.raises(ValueError, match="without a block of thought"):
        kind.parse_target("<think>a</think>Paris")


@pytest.mark.parametrize(
    ("output", "answer", "leniencies"),
    [
        ('{"city": "Paris"}', "Paris", ()),
        ('```\n{"city": "Paris"}\n```', "Paris", ("fence",)),
        ('Sure:\n```json\n{"city": "Paris"}\n```\nDone.', "Paris", ("fence",)),
        ('The answer is {"city": "Paris"}.', "Paris", ("surroundings",)),
        ('{"city": "Paris"} {"city":"Paris"}', "Paris", ("surroundings",)),
        ('{"town": 1} {"city": "Paris"}', "Paris", ("surroundings",)),
        ('{braces} {"city": "Paris"}', "Paris", ("surroundings",)),
        ('<think>{"city": "Rome"}</think>{"city": "Paris"}</s>', "Paris", ("thought", "end_token")),
        ('{"city": "Paris"} or {"city": "Rome"}', None, ()),
        ('{"answer": {"city": "Paris"}}', None, ()),
        ('{"a": {"city": "Paris"}', None, ()),
        ('{"city": NaN}', None, ()),
        ("city: Paris", None, ()),
        ("[" * 5000, None, ()),
    ],
)
def test_the_one_document_that_fits_is_read(output: str, answer: str | None, leniencies: tuple[str, ...]) -> None:
    expected = None if answer is None else f'{{"city": "{answer}"}}'
    assert answer_reader(JSON_TASK)(output) == Reading(expected, leniencies)


def test_json_is_compared_in_unicodes_composed_form() -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Zürich"]}}, "required": ["city"]}
    found = answer_reader(replace(JSON_TASK, schema=schema))('{"city": "Zu\u0308rich"}')
    assert found == Reading('{"city": "Zürich"}', ("unicode_form",))
    assert answer_reader(JSON_TASK)('{"city": "Zu\u0308rich"}') == Reading('{"city": "Zürich"}')


@pytest.mark.parametrize(
    ("output", "leniencies"),
    [
        ('{"answer": "refund"}', ()),
        ('```json\n{"answer": "refund"}\n```', ("fence",)),
        ('{"label": "refund"}', ("json",)),
        ("**refund**", ("no_json", "markup")),
    ],
)
def test_an_arm_that_asks_for_json_has_the_same_reader(output: str, leniencies: tuple[str, ...]) -> None:
    found = json_answer(TASK, 0).parse([generation(output)])
    assert (found.answer, found.leniencies, found.valid) == ("refund", leniencies, not leniencies)
    assert json_answer(TEXT_TASK, 0).read_text("plain").answer is None
    assert json_answer(TEXT_TASK, 0).read_text('```\n{"answer": "plain"}\n```') == Reading("plain", ("fence",))


def generation(text: str) -> Generation:
    return Generation(None, text, 3, 0, 2, 0.1)


@pytest.mark.parametrize(
    ("output", "answer", "leniencies"),
    [
        ("It was late. Answer: refund", "refund", ()),
        ("Answer: spam? No. Answer: **refund**", "refund", ("markup",)),
        ("**Answer**: refund", "refund", ("markup",)),
        ("ANSWER: refund", "refund", ("markup",)),
        ("<think>Answer: spam</think>refund", "refund", ("thought", "prefix")),
        ("<think>Answer: spam", None, ()),
        ("refund", None, ()),
    ],
)
def test_an_answer_after_a_prefix(output: str, answer: str | None, leniencies: tuple[str, ...]) -> None:
    assert greedy(TASK, 0, answer_prefix="Answer:").read_text(output) == Reading(answer, leniencies)


def test_votes_are_read_leniently() -> None:
    drawn = [generation(text) for text in ("spam", "**refund**", "Label: refund", "?")]
    found = self_consistency(TASK, 0, samples=4).parse(drawn)
    assert (found.answer, found.samples) == ("refund", ["spam", "refund", "refund", None])
    assert (found.leniencies, found.valid) == (("markup",), False)
