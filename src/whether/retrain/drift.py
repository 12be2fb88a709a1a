"""Are this run's rows like the earlier ones? Permutation tests with p-values that are exactly uniform if so.

The rows of a retraining run and those before it are pooled, and a statistic of which of them are new is compared with
its values for random choices of as many rows; ties are broken at random. If all rows come from one source in any order,
the p-values of successive runs are independent and uniform (Vovk 2021), which is what betting on them requires: each
test may use all rows that were seen before it. Earlier rows may be a sample, if each run draws its own: the sample then
depends on which rows there are, and not on their order.

Statistics see the rows as a matrix and compare thousands of choices at once; none refits a model for each of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Feature = Literal["words", "length", "vocabulary", "meaning"]
Statistic = Callable[[Floats], Floats]
"""Choices as 0/1 of shape (rows, choices) → the statistic of each, shape (choices,); large means different."""

WORD = r"(?u)\b\w+\b"
"""What counts as a word."""
RIDGE = 1.0
"""Of the domain classifier: cosine similarities are at most 1."""


class Drift(NamedTuple):
    """What a test found."""

    statistic: float
    p_value: float


def permutation_test(fresh: int, earlier: int, statistic: Statistic, permutations: int, random: Any) -> Drift:
    """Return the statistic of the last `fresh` of `earlier + fresh` rows, and its randomised p-value in (0, 1]."""
    rows = fresh + earlier
    choices = np.zeros((rows, permutations + 1))
    choices[earlier:, 0] = 1
    order = np.argpartition(random.random((rows, permutations)), fresh, axis=0)[:fresh]
    np.put_along_axis(choices[:, 1:], order, 1, axis=0)
    values = statistic(choices)
    larger = int((values[1:] > values[0] + 1e-9).sum())
    equal = int((np.abs(values - values[0]) <= 1e-9).sum())  # itself among them
    p_value = (larger + random.random() * equal) / (permutations + 1)
    return Drift(float(values[0]), float(max(p_value, 1e-12)))


def text_statistic(texts: Sequence[str], feature: Feature) -> Statistic:
    """Return a statistic of texts, of those of the run and those before it together."""
    if feature == "words":
        return domain_classifier(texts)
    if feature == "meaning":
        return sentence_classifier(texts)
    return length_shift(texts) if feature == "length" else new_words(texts)


def domain_classifier(texts: Sequence[str]) -> Statistic:
    """Return `classifier` of TF-IDF of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        table = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD).fit_transform(texts)
    except ValueError:  # no word in any text
        return lambda choices: np.zeros(choices.shape[1])
    return classifier(np.asarray((table @ table.T).todense(), dtype=np.float64))


def sentence_classifier(texts: Sequence[str]) -> Statistic:
    """Return `classifier` of sentence embeddings (MiniLM): of what texts mean, whichever words they use.

    Raises MissingPackageError where the extra `embeddings` is not installed.
    """
    from whether.prompt.similarity import sentence_encoder

    encoder = sentence_encoder("the trigger meaning_drift")
    vectors = encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False).astype(np.float64)
    return classifier(vectors @ vectors.T)


def classifier(similarity: Floats) -> Statistic:
    """Return how much higher a classifier that separates chosen rows from the others rates the chosen ones.

    Ridge regression of chosen (1) or not (0) on vectors whose inner products are `similarity` (rows, rows); each row is
    rated by the classifier that was fitted to all others, which for ridge is a division (leave-one-out, Allen 1974), so
    that every choice costs one matrix product. 0: it cannot distinguish them; 1: it always can.
    """
    rows = len(similarity)
    centre = np.eye(rows) - 1 / rows
    kernel = centre @ similarity @ centre
    hat = kernel @ np.linalg.inv(kernel + RIDGE * np.eye(rows)) + 1 / rows
    own = np.minimum(np.diag(hat), 1 - 1e-9)[:, None]

    def statistic(choices: Floats) -> Floats:
        judged = (hat @ choices - own * choices) / (1 - own)
        chosen = choices.sum(axis=0)
        among = (judged * choices).sum(axis=0)
        return np.asarray(among / chosen - (judged.sum(axis=0) - among) / (rows - chosen))

    return statistic


def length_shift(texts: Sequence[str]) -> Statistic:
    """Return how far the chosen rows' ranks by number of words are from the middle (Wilcoxon's, two-sided)."""
    from scipy.stats import rankdata

    ranks = rankdata([len(text.split()) for text in texts])
    shifted = np.asarray(ranks - ranks.mean())
    return lambda choices: np.abs(shifted @ choices) / choices.sum(axis=0)


def new_words(texts: Sequence[str]) -> Statistic:
    """Return the mean number of words in a chosen row that no other row has."""
    from sklearn.feature_extraction.text import CountVectorizer

    try:
        table = CountVectorizer(binary=True, token_pattern=WORD).fit_transform(texts)
    except ValueError:
        return lambda choices: np.zeros(choices.shape[1])
    everywhere = np.asarray(table.sum(axis=0)).ravel()
    table = table[:, everywhere > 0].T.tocsr().astype(np.float64)

    def statistic(choices: Floats) -> Floats:
        among_chosen = np.asarray(table @ choices)
        only_there = among_chosen == everywhere[:, None]
        return np.asarray((among_chosen * only_there).sum(axis=0) / choices.sum(axis=0))

    return statistic


def label_shift(labels: Sequence[str]) -> Statistic:
    """Return Pearson's chi-square of labels by whether a row is chosen."""
    names = {name: index for index, name in enumerate(sorted(set(labels)))}
    indicator = np.zeros((len(names), len(labels)))
    indicator[[names[label] for label in labels], range(len(labels))] = 1
    totals = indicator.sum(axis=1)[:, None]

    def statistic(choices: Floats) -> Floats:
        chosen = choices.sum(axis=0)[None, :]
        counts, expected = indicator @ choices, totals * chosen / len(labels)
        others = totals - expected
        return np.asarray(((counts - expected) ** 2 / expected + (counts - expected) ** 2 / others).sum(axis=0))

    return statistic
