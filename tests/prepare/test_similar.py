import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from whether.prepare import similar
from whether.prepare.similar import similar_pairs


def found(texts: Sequence[str], threshold: float) -> dict[tuple[int, int], float]:
    return {
        (first, second): similarity
        for pairs in similar_pairs(texts, threshold)
        for first, second, similarity in zip(*(part.tolist() for part in pairs), strict=True)
    }


def plain(texts: Sequence[str], threshold: float) -> dict[tuple[int, int], float]:
    """What is meant, written in the plainest way."""
    return {
        (a, b): fuzz.ratio(texts[a], texts[b]) / 100
        for a in range(len(texts))
        for b in range(a + 1, len(texts))
        if fuzz.ratio(texts[a], texts[b]) >= 100 * threshold
    }


def without_comparing_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "EXACT", 0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(alphabet="ab ç", min_size=1, max_size=24), max_size=12, unique=True),
    st.sampled_from([0.6, 0.75, 0.9]),
)
def test_few_texts_are_all_compared(texts: list[str], threshold: float) -> None:
    assert found(texts, threshold) == pytest.approx(plain(texts, threshold))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{number % 7} of {number}" for number in range(60)]
    whole = found(texts, 0.8)
    monkeypatch.setattr(similar, "BLOCK", 7)
    assert found(texts, 0.8) == whole


def sentences(count: int, generator: random.Random, words: int = 3000) -> list[str]:
    vocabulary = ["".join(generator.choices("aeioulrnstmdkp", k=generator.randint(3, 9))) for _ in range(words)]
    return [" ".join(generator.choices(vocabulary, k=generator.randint(6, 20))) for _ in range(count)]


def with_a_word_changed(text: str, generator: random.Random) -> str:
    words = text.split()
    words[generator.randrange(len(words))] = generator.choice(["zebra", "fjord", "quiz"])
    return " ".join(words)


@pytest.mark.heavy
@pytest.mark.parametrize("threshold", [0.8, 0.9, 0.95])
def test_of_many_texts_nearly_every_similar_pair_is_found(monkeypatch: pytest.MonkeyPatch, threshold: float) -> None:
    generator = random.Random(0)
    texts = sentences(1500, generator)
    texts += [with_a_word_changed(text, generator) for text in texts[:500]]
    right = plain(texts[:500] + texts[1500:], threshold)
    texts = texts[:500] + texts[1500:] + texts[500:1500]
    without_comparing_all(monkeypatch)
    got = found(texts, threshold)
    assert len(right) > 100
    assert len(right.keys() & got.keys()) >= 0.99 * len(right)
    assert all(fuzz.ratio(texts[a], texts[b]) >= 100 * threshold for a, b in got)


@pytest.mark.heavy
def test_a_template_costs_no_more_than_other_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of 2,000 texts resemble each other, two million pairs; so many as the windows hold are compared."""
    without_comparing_all(monkeypatch)
    texts = [f"what is the price of article number {number} in the shop today" for number in range(2000)]
    compared = sum(len(pairs.first) for pairs in similar_pairs(texts, 0.9))
    assert 2000 < compared <= similar.TREES * similar.WINDOW * len(texts)


def test_the_same_texts_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    without_comparing_all(monkeypatch)
    texts = sentences(50, random.Random(1))
    texts += [f"{text} x" for text in texts]
    assert found(texts, 0.8) == found(texts, 0.8)
    assert len(found(texts, 0.8)) >= 50


@pytest.mark.parametrize("text", ["", "a", "\ud83d", "😀", "x" * 5000])
def test_short_long_and_odd_texts(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    without_comparing_all(monkeypatch)
    assert (0, 1) in found([f"{text} one two three four five", f"{text} one two three four fives"], 0.9)
    found([text, "b"], 0.9)
