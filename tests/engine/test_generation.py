"""Generated tokens are those of transformers' own greedy `generate`, whatever else is in the batch."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import generate_greedily, model_config, transformers_tokens

from whether.engine.generation import plan_batches, stop_finder
from whether.engine.local import LocalModel
from whether.engine.prefix_tree import PrefixTree
from whether.engine.requests import ScoringRequest
from whether.errors import EngineError
from whether.model.memory import Limits
from whether.records import Decoding


def ragged(vocabulary, shared, count, seed=0, longest=40):
    """Return prompts of random lengths after a common prefix."""
    source = random.Random(seed)
    draw = lambda length: [source.randrange(3, vocabulary) for _ in range(length)]  # noqa: E731
    prefix = draw(shared)
    return [prefix + draw(source.randrange(1, longest)) for _ in range(count)]


def check(local, prompts, max_new_tokens):
    answers = generate_greedily(local, prompts, Decoding(max_new_tokens))
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.token_ids == transformers_tokens(local, prompt, max_new_tokens)
        assert answer.input_tokens == len(prompt)
        assert answer.seconds > 0
    return answers


@pytest.mark.heavy
@pytest.mark.parametrize("shared", [0, 1, 60])
def test_ragged_prompts_equal_transformers(tiny, vocabulary, monkeypatch, shared):
    monkeypatch.setattr(tiny, "limits", Limits(nodes=64, rows=8))
    prompts = ragged(vocabulary, shared, 20)
    answers = check(tiny, prompts, 12)
    assert all(shared <= answer.cached_tokens < len(prompt) for prompt, answer in zip(prompts, answers, strict=True))


@pytest.mark.heavy
def test_clusters_of_prompts(tiny, vocabulary, monkeypatch):
    monkeypatch.setattr(tiny, "limits", Limits(nodes=50, rows=6))
    one, two = ragged(vocabulary, 45, 7, seed=1), ragged(vocabulary, 70, 9, seed=2)
    mixed = [prompt for pair in zip(one, two, strict=False) for prompt in pair] + two[7:]
    answers = check(tiny, mixed, 6)
    assert min(answer.cached_tokens for answer in answers) >= 45


def test_prompts_that_begin_or_repeat_others(tiny, vocabulary):
    (prompt,) = ragged(vocabulary, 0, 1, longest=40)
    prompts = [prompt, prompt[:1], prompt, [*prompt, 9, 9], prompt[:5], prompt[:1]]
    answers = check(tiny, prompts, 5)
    assert answers[0].token_ids == answers[2].token_ids
    assert answers[0].cached_tokens == len(prompt)
    assert answers[3].cached_tokens == len(prompt)


@pytest.mark.heavy
@given(
    prompts=st.lists(st.lists(st.integers(3, 6), min_size=1, max_size=12), min_size=1, max_size=10),
    max_nodes=st.integers(1, 30),
    max_rows=st.integers(1, 5),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batches_do_not_change_answers(tiny, monkeypatch, prompts, max_nodes, max_rows):
    alone = [generate_greedily(tiny, [prompt], Decoding(4))[0].token_ids for prompt in prompts]
    monkeypatch.setattr(tiny, "limits", Limits(nodes=max_nodes, rows=max_rows))
    assert [answer.token_ids for answer in generate_greedily(tiny, prompts, Decoding(4))] == alone


@pytest.mark.heavy
def test_finished_rows_leave_the_batch(tiny, vocabulary, monkeypatch):
    prompts = ragged(vocabulary, 20, 16, seed=3)
    longest = [transformers_tokens(tiny, prompt, 24) for prompt in prompts]
    # Tokens that come early in some answers end them, so that rows finish one after another.
    ends = {tokens[place] for place, tokens in enumerate(longest)}
    monkeypatch.setattr(tiny, "eos_token_ids", tiny.eos_token_ids | ends)
    lengths = {len(answer.token_ids) for answer in check(tiny, prompts, 24)}
    assert len(lengths) > 3


def test_same_call_same_result(tiny, vocabulary):
    prompts = ragged(vocabulary, 10, 9)
    first, second = (generate_greedily(tiny, prompts, Decoding(8)) for _ in range(2))
    assert [answer[:4] for answer in first] == [answer[:4] for answer in second]


def test_plain_path_gives_the_same(tiny, vocabulary, monkeypatch):
    prompts = ragged(vocabulary, 10, 9, longest=5)
    expected = generate_greedily(tiny, prompts, Decoding(8))
    monkeypatch.setattr(tiny, "uses_tree", False)
    answers = generate_greedily(tiny, prompts, Decoding(8))
    assert [answer.token_ids for answer in answers] == [answer.token_ids for answer in expected]
    assert {answer.cached_tokens for answer in answers} == {0}


@pytest.mark.heavy
@pytest.mark.parametrize("uses_tree", [True, False])
def test_stop_string_ends_an_answer(tiny, vocabulary, monkeypatch, uses_tree):
    monkeypatch.setattr(tiny, "uses_tree", uses_tree)
    prompts = ragged(vocabulary, 10, 6)
    full = generate_greedily(tiny, prompts, Decoding(16))
    stop = next(character for character in full[0].text[3:] if character.isascii() and character.isprintable())
    for answer, unstopped in zip(generate_greedily(tiny, prompts, Decoding(16, stop=[stop])), full, strict=True):
        assert answer.text == unstopped.text.split(stop)[0]
        assert unstopped.token_ids[: len(answer.token_ids)] == answer.token_ids
        if stop in unstopped.text:
            assert stop not in tiny.tokenizer.decode(answer.token_ids[:-1])


def test_stop_string_across_tokens_and_bytes(tiny):
    is_stopped = stop_finder(tiny.tokenizer, ["né 日本", "\n\n"])
    tokens = tiny.tokenizer("abc né 日本 xyz", add_special_tokens=False)["input_ids"]
    found = [is_stopped(tokens[:end]) for end in range(1, len(tokens) + 1)]
    assert tiny.tokenizer.decode(tokens[: found.index(True) + 1]) == "abc né 日本"
    assert not stop_finder(tiny.tokenizer, [])(tokens)


def test_cut_at_the_first_stop_string():
    assert Decoding(1, [".", "\n"]).cut("one\ntwo. three") == "one"
    assert Decoding(1, ["."]).cut("one") == "one"
    assert Decoding(1).cut("one") == "one"


def test_batches_stay_within_the_cache_budget():
    prompts = [tuple([1] * 30 + [index] * (2 + 37 * index % 90)) for index in range(2, 60)]
    tree = PrefixTree(prompts)
    batches = list(plan_batches(tree, 10, Limits(nodes=50, own_tokens=1000)))
    assert [index for batch in batches for index in range(batch.first, batch.last)] == list(range(58))
    for batch in batches:
        longest = max(map(len, tree.sequences[batch.first : batch.last]))
        assert batch.last - batch.first == 1 or (batch.last - batch.first) * (longest - batch.shared + 10) <= 1000
    assert [step for batch in batches for step in batch.passes] == list(tree.passes(50, 1000 // 60))


def test_errors_name_the_prompt(tiny):
    window = tiny.context_window
    with pytest.raises(EngineError, match=f"prompt 1 has {window - 4} tokens.*5 new ones.*{window}"):
        generate_greedily(tiny, [[5], [5] * (window - 4)], Decoding(5))
    with pytest.raises(EngineError, match="prompt 0 is empty"):
        generate_greedily(tiny, [[]], Decoding(5))
    with pytest.raises(EngineError, match="max_new_tokens"):
        generate_greedily(tiny, [[5]], Decoding(0))
    with pytest.raises(EngineError, match="stop"):
        generate_greedily(tiny, [[5]], Decoding(1, stop=[""]))


def test_longest_prompt_fits(tiny):
    check(tiny, [[5] * (tiny.context_window - 2)], 2)


def test_no_prompts(tiny):
    assert generate_greedily(tiny, [], Decoding(3)) == []
    assert tiny.loglikelihoods([]) == []


@pytest.mark.real
def test_real_model(real_model):
    local = LocalModel.load(real_model, None, model_config(threads=None))
    instruction = "Answer in one word. " * 5
    questions = ["What is the capital of France?", "Is ice cold?", "日本の首都は?", "Hi"]
    prompts = [
        local.tokenizer(f"{instruction}\n{question}\n", add_special_tokens=False)["input_ids"] for question in questions
    ]
    check(local, prompts, 8)


@pytest.mark.heavy
def test_calls_begin_with_what_the_call_before_began_with(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    from whether.engine.caches import PrefixCache

    instruction = list(range(5, 45))
    prompts = [[*instruction, 50, 51, 52], [*instruction, 50, 53], [*instruction, 50, 53], instruction[:20], [60, 61]]
    computed, run = [], PrefixCache.run

    def counted(self: PrefixCache, step, wanted):
        computed[-1] += len(step.tokens)
        return run(self, step, wanted)

    monkeypatch.setattr(PrefixCache, "run", counted)

    def ask(prompt: list[int]):
        computed.append(0)
        return generate_greedily(tiny, [prompt], Decoding(4))[0].token_ids

    alone = [ask(prompt) for prompt in prompts]
    assert computed == [43, 42, 42, 20, 2]
    computed.clear()
    with tiny.keeping_prefix():
        assert [ask(prompt) for prompt in prompts] == alone
    assert computed == [43, 1, 1, 1, 2], "what follows the whole prompt has to be computed, whatever is kept"
    computed.clear()
    ask(prompts[0])
    assert computed == [43], "nothing is kept afterwards"


@pytest.mark.heavy
def test_scores_after_a_kept_prefix(tiny) -> None:
    contexts = [(*range(5, 45), last) for last in (50, 51, 51)]
    requests = [[ScoringRequest(context, rest) for rest in ((60, 61), (62,), (60, 63, 64))] for context in contexts]
    alone = [tiny.loglikelihoods(part) for part in requests]
    with tiny.keeping_prefix():
        kept = [tiny.loglikelihoods(part) for part in requests]
    for one, other in zip(alone, kept, strict=True):
        assert [a.log_likelihood for a in one] == pytest.approx([b.log_likelihood for b in other], abs=1e-4)
        assert [a.is_greedy for a in one] == [b.is_greedy for b in other]
