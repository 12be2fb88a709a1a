"""A constrained answer is the best, or a fair draw, among those allowed; and always one of them."""

import json
import shutil
from collections import Counter

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import model_config, naive_logits
from test_sampling import surprise

from whether.engine.caches import DecodingBatch
from whether.engine.local import LocalModel
from whether.errors import EngineError
from whether.model.memory import Limits
from whether.model.tokens import encode_answer
from whether.records import Choice, Decoding, JsonSchema, Message, Sampling

PROMPTS = [[5, 6, 7, 8, 9], [5, 6, 7, 30], [90, 91]]
LABELS = ("play_music", "play", "rate_book", "playlist", "add_to_playlist", "play")
WARM = Sampling(temperature=3.0, seed=1, samples=30)

SCHEMAS = {
    "labels": {
        "type": "object",
        "properties": {"intent": {"enum": ["play_music", "rate_book", "get_weather", "play", 'say "né 日本"']}},
        "required": ["intent"],
        "additionalProperties": False,
    },
    "typed": {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "share": {"type": "number", "exclusiveMinimum": -1, "maximum": 1},
            "kind": {"anyOf": [{"const": None}, {"type": "boolean"}]},
        },
        "required": ["age", "kind"],
        "additionalProperties": False,
    },
    "text": {"type": "string", "minLength": 1, "maxLength": 6},
    "pattern": {"type": "string", "pattern": "^[a-c]{2,4}-[0-9]+$", "maxLength": 9},
    "list": {"type": "array", "items": {"$ref": "#/$defs/part"}, "maxItems": 4, "$defs": {"part": {"enum": [1, "1"]}}},
    "number": {"type": "integer", "minimum": -20, "maximum": 2000},
    "fixed": {"const": {"a": [1, 2]}},
}  # fmt: skip


def best_choice(local, prompt, texts):
    """Walk greedily, one whole pass a token, among the spellings of the choices, each with the token that ends it."""
    left, tokens = [encode_answer(local.tokenizer, text) for text in set(texts)], []
    while left != [tokens]:
        logits = naive_logits(local.model, [*prompt, *tokens])
        token = max({spelling[len(tokens)] for spelling in left}, key=lambda token: float(logits[token]))
        tokens = [*tokens, token]
        left = [spelling for spelling in left if spelling[: len(tokens)] == tokens]
    return local.tokenizer.decode(tokens[:-1])


@pytest.mark.heavy
@given(
    texts=st.lists(st.text(alphabet="ab _né日", max_size=4), min_size=1, max_size=6),
    prompts=st.lists(st.lists(st.integers(3, 300), min_size=1, max_size=8), min_size=1, max_size=4),
    max_rows=st.integers(1, 5),
    uses_tree=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_greedy_choice_is_the_best_walk(tiny, monkeypatch, *, texts, prompts, max_rows, uses_tree):
    monkeypatch.setattr(tiny, "limits", Limits(rows=max_rows))
    monkeypatch.setattr(tiny, "uses_tree", uses_tree)
    answers = tiny.generate_tokens(prompts, Decoding(16, constraint=Choice(tuple(texts))))
    for prompt, (answer,) in zip(prompts, answers, strict=True):
        assert answer.text == best_choice(tiny, prompt, texts)
        assert answer.finished
        assert [*answer.token_ids, tiny.tokenizer.eos_token_id] == encode_answer(tiny.tokenizer, answer.text)
        assert answer.input_tokens == len(prompt)
        assert answer.cached_tokens <= len(prompt)


def test_sampled_choices_have_the_walks_probabilities(tiny):
    texts = ("a", "b", "z", "!")
    (answers,) = tiny.generate_tokens(
        [PROMPTS[0]], Decoding(3, sampling=Sampling(1.5, samples=5000), constraint=Choice(texts))
    )
    tokens = [encode_answer(tiny.tokenizer, text)[0] for text in texts]
    probabilities = (naive_logits(tiny.model, PROMPTS[0])[tokens] / 1.5).softmax(-1)
    assert (
        surprise(Counter(answer.text for answer in answers), dict(zip(texts, probabilities.tolist(), strict=True)))
        > 0.001
    )


@pytest.mark.heavy
@pytest.mark.parametrize("constraint", [Choice(LABELS), JsonSchema(SCHEMAS["labels"])])
@pytest.mark.parametrize("sampling", [Sampling(), WARM, WARM._replace(top_k=2), WARM._replace(top_p=0.8)])
def test_both_paths_and_any_batch_agree(tiny, monkeypatch, constraint, sampling):
    def texts(prompts):
        answers = tiny.generate_tokens(prompts, Decoding(40, sampling=sampling, constraint=constraint))
        assert all(answer.finished for samples in answers for answer in samples)
        return [[(answer.text, answer.token_ids) for answer in samples] for samples in answers]

    together = texts(PROMPTS)
    assert [texts([prompt])[0] for prompt in PROMPTS] == together
    monkeypatch.setattr(tiny, "limits", Limits(rows=7))
    assert texts(PROMPTS) == together
    monkeypatch.setattr(tiny, "uses_tree", False)
    assert texts(PROMPTS) == together


def test_a_choice_that_begins_another(tiny):
    answers = tiny.generate_tokens(PROMPTS, Decoding(20, sampling=WARM, constraint=Choice(LABELS)))
    seen = {answer.text for samples in answers for answer in samples}
    assert seen <= set(LABELS)
    assert {"play", "playlist", "play_music"} <= seen


def test_where_no_choice_is_left_the_model_is_not_asked(tiny, monkeypatch):
    steps = []
    step = DecodingBatch.step
    monkeypatch.setattr(DecodingBatch, "step", lambda self, tokens: steps.append(len(tokens)) or step(self, tokens))
    long = "a very long label that no other begins like"
    answers = tiny.generate_tokens(PROMPTS, Decoding(60, constraint=Choice((long, "some other one of many words"))))
    assert {len(answer.token_ids) > 5 for samples in answers for answer in samples} == {True}
    assert steps == []
    tiny.generate_tokens(PROMPTS, Decoding(60, constraint=Choice((long + " end", long + ", or not"))))
    assert steps == [], "what all choices begin with is computed with the prompt"
    schema = {"enum": [{"intent": "one label"}, {"intent": "other"}]}
    ((answer,),) = tiny.generate_tokens([PROMPTS[0]], Decoding(60, constraint=JsonSchema(schema)))
    assert json.loads(answer.text) in schema["enum"]
    assert len(steps) < 5 < len(answer.token_ids)


def test_texts_of_special_tokens_are_text(tiny):
    choices = Choice(("<|im_end|>", "<|im_start|>user"))
    ((answer,),) = tiny.generate_tokens([[5]], Decoding(40, constraint=choices))
    assert answer.text in choices.texts
    with pytest.raises(EngineError, match=r"demands the text '<\|im_end\|>'.*special token"):
        tiny.generate_tokens([[5]], Decoding(40, constraint=JsonSchema({"const": "<|im_end|>"})))


def test_a_stop_string_cuts_a_constrained_answer(tiny, monkeypatch):
    for uses_tree in (True, False):
        monkeypatch.setattr(tiny, "uses_tree", uses_tree)
        answers = tiny.generate_tokens(PROMPTS, Decoding(30, stop=["_"], sampling=WARM, constraint=Choice(LABELS)))
        assert {answer.text for samples in answers for answer in samples} <= {"play", "rate", "playlist", "add"}
        ((answer,),) = tiny.generate_tokens([[5]], Decoding(90, stop=["}"], constraint=JsonSchema(SCHEMAS["labels"])))
        assert answer.text.startswith('{"intent": "')
        assert "}" not in answer.text
        assert answer.finished


def test_choices_that_cannot_be_kept(tiny, tiny_model, tmp_path, monkeypatch):
    def ask(*texts, local=tiny, max_new_tokens=8):
        return local.generate_tokens([[5]], Decoding(max_new_tokens, constraint=Choice(texts)))

    with pytest.raises(EngineError, match="at least one text"):
        ask()
    with pytest.raises(EngineError, match=r"at least one text.*'yes'"):
        tiny.generate_tokens([[5]], Decoding(8, constraint=Choice("yes")))
    with pytest.raises(EngineError, match=r"'zebra zebra' has \d+ tokens, more than max_new_tokens \(2\)"):
        ask("a", "zebra zebra", max_new_tokens=2)
    shutil.copytree(tiny_model, tmp_path / "model")
    written = json.loads((tmp_path / "model/tokenizer.json").read_text())
    (tmp_path / "model/tokenizer.json").write_text(json.dumps(written | {"normalizer": {"type": "Lowercase"}}))
    with pytest.raises(EngineError, match="'Yes' reads 'yes' in the model's tokens"):
        ask("Yes", local=LocalModel.load(tmp_path / "model", None, model_config()))
    monkeypatch.setattr(tiny, "eos_token_ids", frozenset())
    with pytest.raises(EngineError, match="needs a token that ends it"):
        ask("a")


@pytest.mark.heavy
@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("uses_tree", [True, False])
def test_every_document_is_valid(tiny, monkeypatch, name, uses_tree):
    monkeypatch.setattr(tiny, "uses_tree", uses_tree)
    sampling = Sampling(temperature=1.5, seed=4, samples=20 if uses_tree else 4)
    answers = tiny.generate_tokens(PROMPTS, Decoding(60, sampling=sampling, constraint=JsonSchema(SCHEMAS[name])))
    drawn = [answer for samples in answers for answer in samples]
    finished = [answer for answer in drawn if answer.finished]
    assert {len(answer.token_ids) for answer in drawn if not answer.finished} <= {60}, "a number can have many digits"
    assert len(finished) > len(drawn) / 2
    for answer in finished:
        document = json.loads(answer.text)
        jsonschema.validate(document, SCHEMAS[name])
        if '"' not in answer.text:
            assert answer.text == json.dumps(document)


def test_a_document_that_is_cut_says_so(tiny):
    ((answer,),) = tiny.generate_tokens([[5]], Decoding(4, constraint=JsonSchema(SCHEMAS["labels"])))
    assert not answer.finished
    assert len(answer.token_ids) == 4
    assert '{"intent": "'.startswith(answer.text[:12])


def test_chats_with_a_constraint(tiny):
    ((answer,),) = tiny.generate([[Message("user", "Hi")]], Decoding(20, constraint=Choice(LABELS)))
    assert answer.text in LABELS


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, r"not a valid JSON schema at \$.type: 'objekt'"),
        ([1], "must be a mapping"),
        ({"const": {1}}, "not a valid JSON schema.*not JSON serializable"),
        ({"type": "array", "uniqueItems": True}, "cannot be constrained.*uniqueItems"),
        ({"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}, "cannot be constrained.*uniqueItems"),
        ({"$ref": "http://127.0.0.1/schema"}, "cannot be constrained.*127.0.0.1"),
        ({"type": "string", "pattern": "(?=a)b"}, "cannot be constrained.*look-around"),
        ({"enum": []}, "cannot be constrained.*Unsatisfiable"),
        ({"$ref": "#"}, "cannot be followed"),
    ],
)
def test_schemas_that_cannot_be_kept(tiny, schema, message):
    with pytest.raises(EngineError, match=message) as caught:
        tiny.generate_tokens([[5]], Decoding(1, constraint=JsonSchema(schema)))
    assert "\n" not in str(caught.value)


UTTERANCES = [
    "Will it rain in Paris tomorrow?", "Add this song to my running list", "Play some jazz from 1959",
    "I give this novel four stars", "Book a table for two in Rome", "When is Casablanca shown near me?",
    "Find me the album Kind of Blue", "Rate the current textbook 3 out of 6", "日本の天気は?", "",
]  # fmt: skip
INTENTS = (
    "add_to_playlist", "book_restaurant", "get_weather", "play_music", "rate_book", "search_creative_work",
    "search_screening_event",
)  # fmt: skip


@pytest.mark.real
def test_real_model(real_model):
    local = LocalModel.load(real_model, None, model_config(threads=None))
    instruction = f"Predict the intent of the utterance. One of: {', '.join(INTENTS)}."
    chats = [[Message("system", instruction), Message("user", utterance)] for utterance in UTTERANCES]
    schema = {
        "type": "object",
        "properties": {"intent": {"enum": list(INTENTS)}},
        "required": ["intent"],
        "additionalProperties": False,
    }
    for sampling in (Sampling(), Sampling(temperature=1.0, top_p=0.95, samples=3)):
        labels = local.generate(chats, Decoding(10, sampling=sampling, constraint=Choice(INTENTS)))
        assert {answer.text for samples in labels for answer in samples} <= set(INTENTS)
        documents = local.generate(chats, Decoding(24, sampling=sampling, constraint=JsonSchema(schema)))
        for answer in (answer for samples in documents for answer in samples):
            assert answer.finished
            jsonschema.validate(json.loads(answer.text), schema)
        (alone,) = local.generate(chats[4:5], Decoding(10, sampling=sampling, constraint=Choice(INTENTS)))
        assert [answer.token_ids for answer in alone] == [answer.token_ids for answer in labels[4]]


@pytest.mark.heavy
def test_a_schema_too_complex_to_follow_is_an_error_and_no_answer(tiny):
    """The grammar gives up in the first row of 3,000 alternatives, which must not pass for an answer that is done."""
    kinds = [
        {"type": "object", "properties": {"kind": {"const": f"k{number}"}}, "required": ["kind"]}
        for number in range(3000)
    ]
    with pytest.raises(EngineError, match="cannot be followed any further"):
        tiny.generate_tokens(PROMPTS, Decoding(30, constraint=JsonSchema({"anyOf": kinds})))
