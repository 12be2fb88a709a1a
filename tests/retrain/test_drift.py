import numpy as np
import pytest
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer

from whether.retrain.drift import (
    RIDGE,
    WORD,
    domain_classifier,
    label_shift,
    length_shift,
    new_words,
    permutation_test,
    text_statistic,
)

WORDS = [*"sun rain snow wind fog hail storm frost heat cloud".split(), *"song album play hear band tune".split()]  # noqa: SIM905


def texts(random, count, words=WORDS):
    return [" ".join(random.choice(words, random.integers(2, 7))) for _ in range(count)]


def chosen(rows, fresh):
    column = np.zeros((rows, 1))
    column[-fresh:] = 1
    return column


def test_the_domain_classifier_is_ridge_regression_refitted_without_each_row():
    random = np.random.default_rng(1)
    rows = texts(random, 24)
    choices = (random.random((24, 5)) < 0.4).astype(float)
    table = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD).fit_transform(rows).toarray()
    table -= table.mean(axis=0)
    expected = []
    for column in choices.T:
        judged = []
        for row in range(24):
            others = np.delete(np.arange(24), row)
            # Ridge with a free intercept, by hand: [X 1] with no penalty on the last.
            x = np.hstack([table[others], np.ones((23, 1))])
            penalty = RIDGE * np.eye(x.shape[1])
            penalty[-1, -1] = 0
            weights = np.linalg.solve(x.T @ x + penalty, x.T @ column[others])
            judged.append(np.append(table[row], 1) @ weights)
        expected.append(np.mean(np.array(judged)[column == 1]) - np.mean(np.array(judged)[column == 0]))
    assert domain_classifier(rows)(choices) == pytest.approx(expected, abs=1e-9)


def test_label_shift_is_the_chi_square_of_a_contingency_table():
    labels = list("aaabbbbccc")
    column = chosen(10, 4)
    table = np.array([[labels[:6].count(name), labels[6:].count(name)] for name in "abc"])
    assert label_shift(labels)(column)[0] == pytest.approx(stats.chi2_contingency(table, correction=False).statistic)


def test_new_words_and_length_by_hand():
    rows = ["a song", "the song", "a new hit", "the hit parade"]
    assert new_words(rows)(chosen(4, 2))[0] == pytest.approx(4 / 2)  # new once, hit twice, parade once
    assert length_shift(rows)(chosen(4, 2))[0] == pytest.approx(1.0)  # ranks 1.5 1.5 3.5 3.5 around 2.5


@pytest.mark.heavy
@pytest.mark.parametrize("feature", ["words", "length", "vocabulary"])
def test_p_values_are_uniform_without_drift(feature):
    random = np.random.default_rng(2)
    found = []
    for _ in range(150):
        rows = texts(random, 36)
        found.append(permutation_test(12, 24, text_statistic(rows, feature), 99, random).p_value)
    assert stats.kstest(found, "uniform").pvalue > 0.001


@pytest.mark.parametrize(
    ("feature", "drifted"),
    [
        ("words", ["play that tune please", "hear the band please", "play the album please"]),
        ("length", ["sun " * 12, "rain snow " * 7, "fog wind hail " * 5]),
        ("vocabulary", ["zebra rain", "lion snow", "tiger wind"]),
    ],
)
def test_each_feature_sees_its_drift(feature, drifted):
    random = np.random.default_rng(3)
    rows = [*texts(random, 60, WORDS[:10]), *(drifted * 5)]
    assert permutation_test(15, 60, text_statistic(rows, feature), 199, random).p_value < 0.02


def test_texts_without_a_word():
    random = np.random.default_rng(0)
    for feature in ("words", "length", "vocabulary"):
        found = permutation_test(4, 8, text_statistic(["!"] * 12, feature), 49, random)
        assert 0 < found.p_value <= 1


@pytest.mark.heavy
def test_meaning_is_seen_where_no_word_is_shared():
    """Each row's words are its own on both sides: only their meaning distinguishes them."""
    weather = "drizzle sunshine blizzard humidity thunder breeze monsoon sleet overcast downpour gale dew"
    music, more = "flute sonata rapper cello hymn pianist", "mist cyclone icy hailstones sunny rainfall"

    def p_value(fresh, feature):
        rows = [*weather.split(), *fresh.split()]
        return permutation_test(6, 12, text_statistic(rows, feature), 199, np.random.default_rng(4)).p_value

    assert p_value(music, "meaning") < 0.02
    assert min(p_value(more, "meaning"), p_value(music, "words")) > 0.05
