"""Scores equal those of one plain sequence a request, whatever the requests have in common."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import generate_greedily, model_config, naive_score

from whether.engine.local import LocalModel
from whether.engine.requests import ScoringRequest
from whether.errors import EngineError
from whether.model.memory import Limits
from whether.records import Decoding

TOKENS = st.lists(st.integers(0, 3), max_size=9).map(tuple)
REQUESTS = st.lists(st.builds(ScoringRequest, TOKENS.filter(len), TOKENS), max_size=12)


def check(local, requests, tolerance=1e-4):
    for request, result in zip(requests, local.loglikelihoods(requests), strict=True):
        total, greedy = naive_score(local.model, request)
        assert result.log_likelihood == pytest.approx(total, abs=tolerance)
        assert result.is_greedy == greedy
        assert result.tokens == len(request.continuation)


@pytest.mark.heavy
@pytest.mark.parametrize("uses_tree", [True, False])
@given(requests=REQUESTS, max_nodes=st.integers(1, 20))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_naive_reference(tiny, monkeypatch, uses_tree, requests, max_nodes):
    monkeypatch.setattr(tiny, "limits", Limits(nodes=max_nodes))
    monkeypatch.setattr(tiny, "uses_tree", uses_tree)
    check(tiny, requests)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(4))
def test_long_requests_that_share_much(tiny, monkeypatch, vocabulary, seed):
    """Longer than blocks and passes, with boundaries anywhere."""
    choose = random.Random(seed)
    monkeypatch.setattr(tiny, "limits", Limits(nodes=choose.choice([60, 200, 512])))

    def tokens(longest):
        return tuple(choose.randrange(vocabulary) for _ in range(choose.randrange(longest)))

    stem = tokens(300)
    texts = [(*stem, *tokens(200), 5) for _ in range(6)]
    texts += [text[: choose.randrange(1, len(text))] + tokens(90) for text in texts * 3]
    check(
        tiny,
        [ScoringRequest(text[:cut], text[cut:]) for text in texts for cut in (1, choose.randint(1, len(text)))],
        1e-3,
    )


def test_hard_requests(tiny):
    whole = tuple(range(20, 60))
    check(
        tiny,
        [
            ScoringRequest(whole[:30], whole[30:]),
            ScoringRequest(whole[:30], whole[30:]),  # twice the same
            ScoringRequest(whole[:10], whole[10:]),  # the same tokens, another boundary
            ScoringRequest(whole, (1, 2)),  # starts with the whole text of others
            ScoringRequest(whole[:1], whole[1:2]),
            ScoringRequest(whole[:5], ()),
            ScoringRequest(whole[:30], (7,)),
            ScoringRequest((7,), whole),
        ],
    )


def test_is_greedy_of_the_models_own_answer(tiny):
    (answer,) = generate_greedily(tiny, [[5, 6, 7]], Decoding(5))
    continuation = tuple(answer.token_ids)
    greedy, other = tiny.loglikelihoods(
        [ScoringRequest((5, 6, 7), continuation), ScoringRequest((5, 6, 7), (*continuation[:-1], continuation[-1] ^ 1))]
    )
    assert greedy.is_greedy
    assert not other.is_greedy
    assert other.log_likelihood < greedy.log_likelihood


def test_empty_context_is_the_token_that_begins_a_text(tiny):
    assert tiny.loglikelihoods([ScoringRequest((), (5, 6))]) == tiny.loglikelihoods(
        [ScoringRequest((tiny.prefix_token_id,), (5, 6))]
    )


def test_longest_request_fits_and_the_next_does_not(tiny):
    window = tiny.context_window
    (result,) = tiny.loglikelihoods([ScoringRequest((1,) * window, (2,))])
    assert result.log_likelihood < 0
    with pytest.raises(EngineError, match=f"request 1 has {window} \\+ 2 tokens.*{window}"):
        tiny.loglikelihoods([ScoringRequest((1,), (2,)), ScoringRequest((1,) * window, (2, 3))])


def test_other_requests_beside_it_change_nothing_but_rounding(tiny):
    request = ScoringRequest((9, 8, 7), (6, 5))
    others = [ScoringRequest((9, 8, token), (6, 5, token)) for token in range(30)]
    (alone,) = tiny.loglikelihoods([request])
    among = tiny.loglikelihoods([*others, request])[-1]
    assert among.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-5)


@pytest.mark.parametrize("max_length", [1, 2, 7, 25, 26, 1024])
def test_rolling_scores_each_token_once_in_its_window(tiny, max_length):
    tokens = [(7 * number) % 50 for number in range(25)]
    inputs = [tiny.prefix_token_id, *tokens]
    expected = 0.0
    for start in range(0, 25, max_length):
        end = min(start + max_length, 25)
        context = inputs[max(0, end - max_length) : start + 1]  # the last window reaches back to be full
        expected += naive_score(tiny.model, ScoringRequest(tuple(context), tuple(tokens[start:end])))[0]
    (result,) = tiny.rolling_loglikelihoods([tokens], max_length)
    assert result.log_likelihood == pytest.approx(expected, abs=1e-3)
    assert result.tokens == 25


@pytest.mark.real
def test_real_model_labels(real_model):
    local = LocalModel.load(real_model, None, model_config(threads=None))
    encode = lambda text: tuple(local.tokenizer(text, add_special_tokens=False)["input_ids"])  # noqa: E731
    prefix = "What does the user want? One of: play_music, get_weather, rate_book.\n\n"
    queries = ["Play some jazz.", "Will it rain in Oslo?", "日本の天気は?"]
    labels = ["play_music", "play", "rate_book", ""]
    contexts = [encode(f"{prefix}User: {query}\nIntent:") for query in queries]
    check(
        local,
        [ScoringRequest(context, encode(f" {label}" if label else "")) for context in contexts for label in labels],
    )
