import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz

from whether.prepare.clusters import cluster, joined, largest_cluster


def parts(numbers: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(numbers == number).tolist()) for number in numbers}


def test_links_are_chains() -> None:
    texts = ["play it now please", "play it now pleases", "play it now pleased", *(chr(97 + n) * 9 for n in range(30))]
    found = cluster(texts, 0.9)
    assert frozenset({0, 1, 2}) in parts(found.numbers)
    assert len(parts(found.numbers)) == 31
    assert found.templates == []


def test_at_one_only_equal_texts_belong_together() -> None:
    found = cluster(["a b c d e f g h", "b", "a b c d e f g h", "a b c d e f g i"], 1)
    assert parts(found.numbers) == {frozenset({0, 2}), frozenset({1}), frozenset({3})}


@pytest.mark.parametrize(("rows", "most"), [(3, 3), (20, 3), (60, 6), (100, 10), (693, 13), (100_000, 2000)])
def test_the_largest_cluster(rows: int, most: int) -> None:
    assert largest_cluster(rows) == most


def test_a_template_is_cut_and_equal_texts_in_it_are_not() -> None:
    numbers = [f"what is {a} plus {b}" for a in range(10, 30) for b in range(10, 30)]
    found = cluster([*numbers, numbers[0], "what is my name"], 0.9)
    sizes = np.bincount(found.numbers)
    assert sizes.max() <= largest_cluster(len(numbers) + 2)
    assert found.numbers[0] == found.numbers[400]
    (template,) = found.templates
    assert len(template.members) == 401
    assert 0.9 < template.threshold < 1


def test_equal_texts_stay_together_however_many_they_are() -> None:
    found = cluster(["the same"] * 50 + [f"{n}" * 9 for n in range(10, 20)], 0.9)
    assert len(set(found.numbers[:50].tolist())) == 1
    assert found.templates == []


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.8, 0.9]))
def test_no_two_of_different_clusters_are_similar(seed: int, threshold: float) -> None:
    generator = random.Random(seed)
    words = "play the song book a table for two rain tomorrow open station".split()  # noqa: SIM905
    texts = [" ".join(generator.choices(words, k=generator.randint(2, 8))) for _ in range(60)]
    found = cluster(texts, threshold)
    cut = {member for template in found.templates for member in template.members.tolist()}
    for a in range(60):
        for b in range(a):
            if not {a, b} <= cut and fuzz.ratio(texts[a], texts[b]) >= 100 * threshold:
                assert found.numbers[a] == found.numbers[b]
    # Those of a template are apart only where they are no more similar than is said.
    for template in found.templates:
        members = template.members.tolist()
        for a in members:
            for b in members:
                if fuzz.ratio(texts[a], texts[b]) / 100 > template.threshold + 1e-6:
                    assert found.numbers[a] == found.numbers[b]


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | st.integers(0, 4), st.none() | st.integers(0, 4)), max_size=12))
def test_what_is_joined_belongs_together_transitively(rows: list[tuple[int | None, int | None]]) -> None:
    numbers = joined(len(rows), [a for a, _ in rows], [b for _, b in rows])
    groups = [{index} for index in range(len(rows))]
    for place in (0, 1):
        for name in range(5):
            same = [index for index, row in enumerate(rows) if row[place] == name]
            merged = set().union(*(groups[index] for index in same)) if same else set()
            for index in merged:
                groups[index] = merged
    assert parts(numbers) == {frozenset(group) for group in groups}
