"""Formats that keep a prompt's meaning."""

from dataclasses import replace

import pytest
from references import parser

from whether.chat.messages import render_input
from whether.prompt.formats import INPUT_FORMS, NAMES, PromptFormat, changes_prompt, prompt_formats
from whether.prompt.strategies import few_shot, zero_shot
from whether.records import Example, FormatRecord, Task


@pytest.fixture
def task(label_task: Task) -> Task:
    return replace(
        label_task,
        labels=["billing", "tech_support", "other"],
        instruction="Read the message. Which queue? One of: billing, tech_support, other. Answer with the queue.",
        definitions={"tech_support": "computers"},
        inputs=["text"],
    )


@pytest.fixture
def pool(examples: list[Example]) -> list[Example]:
    return [replace(one, target="tech_support") if one.target == "tech" else one for one in examples]


def by_name(task: Task) -> dict[str, PromptFormat]:
    return {variation.name: variation for variation in prompt_formats(task, 0)}


def test_there_are_ten_at_least_for_labels_and_for_text(task: Task, pool: list[Example]) -> None:
    text = replace(task, output="text", labels=[], definitions={})
    for varied, least in ((task, 16), (text, 10)):
        found = prompt_formats(varied, 0)
        assert len({one.name for one in found}) == len(found)
        assert {one.name for one in found} <= set(NAMES)
        own = few_shot(varied, pool, 0, examples=5)
        changing = [
            one
            for one in found
            if changes_prompt(
                one, own, one.strategy(few_shot(one.task, [one.example(row) for row in pool], 0, examples=5)), pool
            )
        ]
        assert len(changing) >= least


@pytest.mark.parametrize("name", INPUT_FORMS)
@pytest.mark.parametrize("template", ["", "Q: {{ text }}"])
def test_an_input_keeps_its_words(task: Task, pool: list[Example], name: str, template: str) -> None:
    own = replace(task, input_template=template)
    read = render_input(by_name(own)[name].task, pool[0])
    assert read != render_input(own, pool[0])
    assert render_input(own, pool[0]) in read


def test_fields_are_named(task: Task) -> None:
    two = replace(task, inputs=["text", "sent_at"])
    example = Example("x", {"text": "hello {{ 1 }}", "sent_at": "noon"}, "other")
    assert render_input(by_name(two)["fields_named"].task, example) == "Text: hello {{ 1 }}\nSent At: noon"
    assert "fields_named" not in by_name(replace(two, input_template="{{ text }}"))


def test_labels_in_another_spelling_are_read_and_mapped_back(task: Task, pool: list[Example]) -> None:
    for name, spelt in {
        "labels_upper": "TECH_SUPPORT", "labels_title": "Tech_Support", "labels_spaced": "tech support",
    }.items():  # fmt: skip
        variation = by_name(task)[name]
        example = variation.example(pool[1])
        assert (example.target, spelt in variation.task.instruction) == (spelt, True)
        assert variation.task.definitions == {spelt: "computers"}
        assert variation.task.labels[1] == spelt
        assert (
            FormatRecord(name, variation.task, variation.labels).original(
                parser(variation.task)(spelt, example.target).answer
            )
            == "tech_support"
        )
        assert FormatRecord(name, variation.task, variation.labels).original(None) is None


def test_labels_are_respelt_wherever_the_instruction_names_them(task: Task) -> None:
    apart = replace(task, instruction="Answer billing, or tech_support for technical trouble; other if neither.")
    assert by_name(apart)["labels_upper"].task.instruction == (
        "Answer BILLING, or TECH_SUPPORT for technical trouble; OTHER if neither."
    )


def test_labels_that_would_become_one_stay(task: Task, pool: list[Example]) -> None:
    alike = replace(task, labels=["a_b", "a b", "c"])
    assert by_name(alike)["labels_spaced"].labels == {}
    own = zero_shot(alike, pool, 0)
    assert not changes_prompt(by_name(alike)["labels_spaced"], own, zero_shot(alike, pool, 0), pool[:3])


def test_labels_are_listed_in_other_ways(task: Task) -> None:
    found = by_name(task)
    assert "One of: billing | tech_support | other." in found["labels_bars"].task.instruction
    assert "One of: \n- billing\n- tech_support\n- other." in found["labels_lines"].task.instruction
    assert "One of: other, tech_support, billing." in found["labels_reversed"].task.instruction
    assert found["labels_reversed"].task.labels == ["other", "tech_support", "billing"]


def test_demonstrations_change_their_order_and_nothing_else(task: Task, pool: list[Example]) -> None:
    own = few_shot(task, pool, 0, examples=5)
    messages = own(pool[0])
    varied = by_name(task)["demonstrations_reversed"].strategy(own)(pool[0])
    assert varied[0] == messages[0]
    assert varied[-1] == messages[-1]
    assert varied[1:-1:2] == messages[1:-1:2][::-1]
    assert varied[2:-1:2] == messages[2:-1:2][::-1]
    shuffled = by_name(task)["demonstrations_shuffled"].strategy(own)(pool[0])
    assert sorted(shuffled) == sorted(messages)
    assert shuffled == by_name(task)["demonstrations_shuffled"].strategy(own)(pool[0])


def test_without_demonstrations_their_order_is_nothing_to_vary(task: Task, pool: list[Example]) -> None:
    own = zero_shot(task, pool, 0)
    for name in ("demonstrations_reversed", "demonstrations_shuffled"):
        assert not changes_prompt(by_name(task)[name], own, by_name(task)[name].strategy(own), pool[:3])
