from collections import Counter
from dataclasses import replace

import pytest

from whether.config import arguments, build
from whether.errors import ConfigError
from whether.prompt.strategies import few_shot, knn, zero_shot
from whether.records import Example, Task


def shown_targets(messages):
    return [message.content for message in messages if message.role == "assistant"]


def test_zero_shot_is_the_instruction_and_the_input(label_task: Task, examples: list[Example]) -> None:
    messages = zero_shot(label_task, examples, 0)(examples[0])
    assert [tuple(message) for message in messages] == [
        ("system", label_task.instruction),
        ("user", "invoice number 0"),
    ]


@pytest.mark.parametrize("count", [3, 7, 30])
def test_few_shot_is_balanced_whatever_the_pool_looks_like(
    label_task: Task, examples: list[Example], count: int
) -> None:
    messages = few_shot(label_task, examples, 0, examples=count)(examples[0])
    counts = Counter(shown_targets(messages))
    assert counts.total() == count
    assert max(counts.values()) - min(counts[label] for label in label_task.labels) <= 1
    assert [message.role for message in messages] == ["system"] + ["user", "assistant"] * count + ["user"]


def test_few_shot_shows_every_query_the_same_and_depends_on_the_seed_alone(
    label_task: Task, examples: list[Example]
) -> None:
    first = few_shot(label_task, examples, 1, examples=6)
    again = few_shot(label_task, examples, 1, examples=6)
    other = few_shot(label_task, examples, 2, examples=6)
    assert first(examples[0])[:-1] == first(examples[1])[:-1] == again(examples[2])[:-1]
    assert first(examples[0])[:-1] != other(examples[0])[:-1]


def test_few_shot_fills_up_from_other_labels_when_one_is_rare(label_task: Task, examples: list[Example]) -> None:
    pool = [example for example in examples if example.target != "tech"] + [examples[1]]
    counts = Counter(shown_targets(few_shot(label_task, pool, 0, examples=9)(examples[0])))
    assert counts == {"tech": 1, "billing": 4, "other": 4}


def test_few_shot_without_labels_is_a_random_set(label_task: Task, examples: list[Example]) -> None:
    task = replace(label_task, output="text", labels=[])
    targets = shown_targets(few_shot(task, examples, 0, examples=5)(examples[0]))
    assert len(targets) == 5


def test_knn_shows_the_nearest_last_and_never_the_query_itself(label_task: Task) -> None:
    pool = [
        Example("a", {"text": "play some jazz"}, "billing"),
        Example("b", {"text": "play some jazz music now"}, "tech"),
        Example("c", {"text": "weather tomorrow in Paris"}, "other"),
        Example("d", {"text": "play some jazz music"}, "other"),
    ]
    strategy = knn(label_task, pool, 0, examples=2)
    query = Example("new", {"text": "play some jazz music"}, "tech")
    assert [message.content for message in strategy(query) if message.role == "user"] == [
        "play some jazz music now",
        "play some jazz music",
        "play some jazz music",
    ]
    from_pool = [message.content for message in strategy(pool[3])]
    assert from_pool.count("play some jazz music") == 1


@pytest.mark.parametrize("texts", ["a b c d", "😀 😃 😄 😁", "今天 天气 明天 音乐"])
def test_knn_works_for_texts_without_words_of_two_letters(label_task: Task, texts: str) -> None:
    pool = [Example(str(number), {"text": text}, "tech") for number, text in enumerate(texts.split())]
    query = Example("new", {"text": texts.split()[2]}, "tech")
    assert knn(label_task, pool, 0, examples=1)(query)[1].content == texts.split()[2]


def test_knn_breaks_ties_by_the_order_of_the_pool(label_task: Task) -> None:
    pool = [Example(str(number), {"text": f"word{number}"}, str(number)) for number in range(4)]
    query = Example("new", {"text": "nothing alike"}, "x")
    assert shown_targets(knn(label_task, pool, 0, examples=2)(query)) == ["1", "0"]


def test_braces_in_data_stay_text(label_task: Task) -> None:
    pool = [Example(str(number), {"text": "{{ 7 * 7 }} {% raw %}"}, "{x}") for number in range(3)]
    content = [message.content for message in knn(label_task, pool, 0, examples=1)(pool[0])]
    assert content[1:] == ["{{ 7 * 7 }} {% raw %}", "{x}", "{{ 7 * 7 }} {% raw %}"]


@pytest.mark.parametrize(("builder", "count"), [(few_shot, 31), (knn, 30)])
def test_too_few_examples_is_one_clear_error(builder, count: int, label_task: Task, examples: list[Example]) -> None:
    with pytest.raises(ConfigError, match="the training split holds 30 examples and the prompt needs 31"):
        builder(label_task, examples, 0, examples=count)


def test_settings_are_checked_by_name_and_range(label_task: Task, examples: list[Example]) -> None:
    target = "whether.prompt.strategies.knn"
    with pytest.raises(ConfigError, match=r"examples.*greater than or equal to 1"):
        arguments({"_target_": target, "examples": 0}, "prompts.knn")
    with pytest.raises(ConfigError, match="did you mean 'examples'"):
        arguments({"_target_": target, "exampels": 3}, "prompts.knn")
    strategy = build({"_target_": target, "examples": 3}, label_task, examples, 0)
    assert len(shown_targets(strategy(examples[0]))) == 3
