"""Samples have transformers' distribution and depend on nothing but seed, prompt and number."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import generate_greedily, naive_sample, transformers_distribution

from whether.errors import EngineError
from whether.model.memory import Limits
from whether.model.tokens import encode
from whether.records import Decoding, Message, Sampling

PROMPTS = [[5, 6, 7, 8, 9], [5, 6, 7, 30], [5, 6, 7, 8], [90, 91]]
WARM = Sampling(temperature=1.0, seed=3, samples=3)


def tokens(answers):
    return [[answer.token_ids for answer in samples] for samples in answers]


def surprise(observed, expected):
    """Return the p-value of Pearson's chi-square test; rare categories and those left out of `expected` are one."""
    from scipy.stats import chisquare

    total = observed.total()
    likeliest, *others = sorted(expected, key=expected.get, reverse=True)
    kept = [key for key in others if expected[key] * total >= 5]
    rest = 1 - sum(expected[key] for key in [likeliest, *kept])
    shares = [expected[likeliest], *(expected[key] for key in kept)]
    counts = [observed[likeliest], *(observed[key] for key in kept)]
    if rest * total >= 5:
        shares.append(rest)
        counts.append(total - sum(counts))
    return chisquare(counts, [share / sum(shares) * sum(counts) for share in shares]).pvalue


@pytest.mark.heavy
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.5, seed=1),
        Sampling(temperature=1.3, top_k=12, seed=2),
        Sampling(temperature=1.0, top_p=0.6, seed=3),
        Sampling(temperature=0.8, top_k=40, top_p=0.7, seed=4),
    ],
)
def test_tokens_have_the_distribution_of_transformers(tiny, sampling):
    probabilities = transformers_distribution(tiny, PROMPTS[0], sampling)
    (answers,) = tiny.generate_tokens([PROMPTS[0]], Decoding(1, sampling=sampling._replace(samples=20_000)))
    (eos,) = tiny.eos_token_ids
    observed = Counter(answer.token_ids[0] if answer.token_ids else eos for answer in answers)
    expected = {token: share for token, share in enumerate(probabilities.tolist()) if share > 0}
    assert observed.keys() <= expected.keys()
    assert surprise(observed, expected) > 0.001


@pytest.mark.heavy
def test_pairs_of_tokens_have_the_distribution_of_the_model(tiny):
    sampling = Sampling(temperature=0.4, seed=5)
    (answers,) = tiny.generate_tokens([PROMPTS[0]], Decoding(2, sampling=sampling._replace(samples=10_000)))
    observed = Counter(tuple(answer.token_ids) for answer in answers)
    first = transformers_distribution(tiny, PROMPTS[0], sampling)
    expected = {}
    for token in first.argsort(descending=True)[:8].tolist():
        second = transformers_distribution(tiny, [*PROMPTS[0], token], sampling)
        expected |= {(token, follower): float(first[token] * share) for follower, share in enumerate(second)}
    (eos,) = tiny.eos_token_ids
    expected = {pair: share for pair, share in expected.items() if eos not in pair}
    assert surprise(observed, expected) > 0.001


@pytest.mark.heavy
@given(
    prompts=st.lists(st.lists(st.integers(3, 6), min_size=1, max_size=10), min_size=1, max_size=5),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([0.3, 1.0, 2.0]),
        top_k=st.sampled_from([0, 5]),
        top_p=st.sampled_from([1.0, 0.7]),
        seed=st.integers(-3, 2**40),
        samples=st.integers(1, 5),
    ),
    max_nodes=st.integers(1, 30),
    max_rows=st.integers(1, 7),
    uses_tree=st.booleans(),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_batches_do_not_change_samples(tiny, monkeypatch, *, prompts, sampling, max_nodes, max_rows, uses_tree):
    monkeypatch.setattr(tiny, "limits", Limits(nodes=max_nodes, rows=max_rows))
    monkeypatch.setattr(tiny, "uses_tree", uses_tree)
    answers = tiny.generate_tokens(prompts, Decoding(4, sampling=sampling))
    monkeypatch.setattr(tiny, "uses_tree", True)
    for prompt, samples in zip(prompts, tokens(answers), strict=True):
        assert samples == [naive_sample(tiny, prompt, 4, sampling, number) for number in range(sampling.samples)]


@pytest.mark.parametrize("uses_tree", [True, False])
def test_rows_that_end_at_different_times(tiny, monkeypatch, uses_tree):
    sampling = WARM._replace(samples=8)
    unended = tokens(tiny.generate_tokens(PROMPTS, Decoding(20, sampling=sampling)))
    ends = {sample[place] for samples in unended for place, sample in enumerate(samples, 2) if place < len(sample)}
    monkeypatch.setattr(tiny, "eos_token_ids", tiny.eos_token_ids | ends)
    monkeypatch.setattr(tiny, "uses_tree", uses_tree)
    answers = tiny.generate_tokens(PROMPTS, Decoding(20, sampling=sampling))
    for samples, full in zip(answers, unended, strict=True):
        for answer, whole in zip(samples, full, strict=True):
            end = next((place for place, token in enumerate(whole) if token in ends), len(whole))
            assert answer.token_ids == whole[:end]
            assert answer.finished == (end < 20)
    assert len({len(answer.token_ids) for samples in answers for answer in samples}) > 3


def test_what_is_beside_a_prompt_does_not_matter(tiny):
    together = tokens(tiny.generate_tokens(PROMPTS, Decoding(6, sampling=WARM)))
    reversed_order = tokens(tiny.generate_tokens(PROMPTS[::-1], Decoding(6, sampling=WARM)))
    assert reversed_order[::-1] == together
    for prompt, samples in zip(PROMPTS, together, strict=True):
        assert tokens(tiny.generate_tokens([prompt], Decoding(6, sampling=WARM))) == [samples]
    more = tokens(tiny.generate_tokens(PROMPTS, Decoding(6, sampling=WARM._replace(samples=7))))
    assert [samples[:3] for samples in more] == together
    longer = tokens(tiny.generate_tokens(PROMPTS, Decoding(9, sampling=WARM)))
    assert [[sample[:6] for sample in samples] for samples in longer] == together


def test_seeds_and_samples_differ(tiny):
    drawn = [
        tuple(answer.token_ids)
        for seed in range(4)
        for (samples) in tiny.generate_tokens([PROMPTS[0]], Decoding(8, sampling=Sampling(1.0, seed=seed, samples=4)))
        for answer in samples
    ]
    assert len(set(drawn)) == 16


def test_more_samples_than_rows(tiny, monkeypatch):
    sampling = WARM._replace(samples=11)
    expected = tokens(tiny.generate_tokens(PROMPTS, Decoding(5, sampling=sampling)))
    monkeypatch.setattr(tiny, "limits", Limits(rows=4))
    assert tokens(tiny.generate_tokens(PROMPTS, Decoding(5, sampling=sampling))) == expected


@pytest.mark.parametrize("max_rows", [64, 4])
def test_samples_share_the_prompt(tiny, monkeypatch, max_rows):
    monkeypatch.setattr(tiny, "limits", Limits(rows=max_rows))
    seen = Counter()

    def count(_module, inputs):
        rows, width = inputs[0].shape
        seen["prompt" if rows == 1 else "decoding"] += rows * width

    hook = tiny.model.get_input_embeddings().register_forward_pre_hook(count)
    try:
        answers = tiny.generate_tokens(PROMPTS, Decoding(2, sampling=WARM._replace(samples=10)))
    finally:
        hook.remove()
    distinct = {tuple(prompt[:end]) for prompt in PROMPTS for end in range(1, len(prompt) + 1)}
    # A few tokens that prompts share may be computed again for each, but never again for a sample.
    assert len(distinct) <= seen["prompt"] <= sum(map(len, PROMPTS))
    assert seen["decoding"] <= 40
    for prompt, samples in zip(PROMPTS, answers, strict=True):
        assert {answer.cached_tokens for answer in samples} == {len(prompt)}


def test_greedy_samples_are_one_answer(tiny, monkeypatch):
    expected = generate_greedily(tiny, PROMPTS, Decoding(6))
    answers = tiny.generate_tokens(PROMPTS, Decoding(6, sampling=Sampling(samples=3, seed=9, top_k=2)))
    for samples, alone in zip(answers, expected, strict=True):
        assert [answer.token_ids for answer in samples] == [alone.token_ids] * 3
        assert {answer.cached_tokens for answer in samples} == {alone.input_tokens}
    monkeypatch.setattr(tiny, "uses_tree", False)
    drawn = tiny.generate_tokens(PROMPTS, Decoding(6, sampling=WARM))
    assert {answer.cached_tokens for samples in drawn for answer in samples} == {0}


def test_seconds_add_up_to_the_wall_time(tiny):
    import time

    start = time.perf_counter()
    answers = tiny.generate_tokens([*PROMPTS, PROMPTS[0]], Decoding(6, sampling=WARM))
    total = sum(answer.seconds for samples in answers for answer in samples)
    assert 0 < total < time.perf_counter() - start
    assert answers[0] == answers[4]


def test_only_the_most_likely_token_is_greedy(tiny):
    greedy = generate_greedily(tiny, PROMPTS, Decoding(6))
    for sampling in (Sampling(1.0, top_k=1), Sampling(1.0, top_p=1e-9), Sampling(1e-4)):
        drawn = tiny.generate_tokens(PROMPTS, Decoding(6, sampling=sampling))
        assert tokens(drawn) == [[answer.token_ids] for answer in greedy]


def test_finished_tells_what_was_cut(tiny):
    (cut,) = generate_greedily(tiny, [PROMPTS[0]], Decoding(3))
    assert not cut.finished
    stop = cut.text[-1]
    (stopped,) = generate_greedily(tiny, [PROMPTS[0]], Decoding(3, stop=[stop]))
    assert stopped.finished


def test_chats_are_answered(tiny):
    chats = [[Message("user", "Hello")], [Message("system", "Be short."), Message("user", "What?")]]
    prompts = [encode(tiny.tokenizer, chat) for chat in chats]
    expected = tiny.generate_tokens(prompts, Decoding(5, sampling=WARM, stop=["e"]))
    answers = tiny.generate(chats, Decoding(5, sampling=WARM, stop=["e"]))
    assert [[answer[:4] for answer in samples] for samples in answers] == [
        [answer[:4] for answer in samples] for samples in expected
    ]


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(temperature=-1.0), "temperature must be 0"),
        (Sampling(temperature=float("nan")), "temperature must be 0"),
        (Sampling(temperature=float("inf")), "temperature must be 0"),
        (Sampling(top_k=-1), "top_k must be"),
        (Sampling(top_p=0.0), "top_p must be"),
        (Sampling(top_p=1.5), "top_p must be"),
        (Sampling(samples=0), "samples must be at least 1"),
        (Sampling(seed=2**70), "seed must be"),
    ],
)
def test_settings_out_of_range(tiny, sampling, message):
    with pytest.raises(EngineError, match=message):
        tiny.generate_tokens([[5]], Decoding(1, sampling=sampling))
    assert tiny.generate_tokens([], Decoding(1)) == []
