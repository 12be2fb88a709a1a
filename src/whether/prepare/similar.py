"""Pairs of similar texts among many, without comparing each with each.

Few texts (`EXACT`, `EXACT_CHARACTERS`) are compared pair by pair. Of more, candidates are found by MinHash in an LSH
forest (Bawa, Condie and Ganesan 2005): for each of `TREES` trees the texts are sorted by a series of minimum hashes of
their sets of three characters, and each is compared with the next `WINDOW` in that order. Neighbours there share as
long a series as the texts allow, however many there are, so the work grows with the number of texts times its
logarithm, and memory with the number of texts, also where all of them follow one template. Every candidate is then
checked exactly. Hashes depend on nothing but the texts: the same texts give the same pairs on every machine. A pair may
be missed, above all among long texts that follow one template.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Keys = NDArray[np.uint64]
Shares = NDArray[np.float32]

EXACT = 3000
"""Texts of which each is compared with each, at most,"""
EXACT_CHARACTERS = 300_000
"""and their characters together."""
TREES = 40
WINDOW = 4
HASHES = 8
"""Of a tree, a byte of its key each."""
COMPARED = 8
"""Trees whose keys tell, before the exact check, whether two texts can be similar at all."""
LONGEST = 512
"""Sets of three characters that stand for a longer text: those with the smallest hashes."""
BLOCK = 2048
"""Texts that are hashed, or compared with all, at once."""


class Pairs(NamedTuple):
    """Similar texts by their places, shape (pairs,): `first` < `second`, and how similar they are, in [0, 1]."""

    first: Codes
    second: Codes
    similarity: Shares


def similar_pairs(texts: Sequence[str], threshold: float) -> Iterator[Pairs]:
    """Yield the pairs of texts that are at least `threshold` similar, batch by batch; a pair may come again.

    Similarity is rapidfuzz's `ratio` / 100: 1 minus the share of characters that insertions and deletions touch.
    """
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    if len(texts) <= EXACT and lengths.sum() <= EXACT_CHARACTERS:
        yield from _all_pairs(texts, threshold)
        return
    keys = _keys(texts)
    for tree in range(TREES):
        order = np.argsort(keys[:, tree], kind="stable")
        for step in range(1, WINDOW + 1):
            low, high = np.minimum(order[:-step], order[step:]), np.maximum(order[:-step], order[step:])
            likely = _likely(low, high, lengths, keys, threshold)
            yield _checked(texts, low[likely], high[likely], threshold)


def _all_pairs(texts: Sequence[str], threshold: float) -> Iterator[Pairs]:
    from rapidfuzz import fuzz, process

    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        table: Shares = process.cdist(
            block, texts[start:], scorer=fuzz.ratio, score_cutoff=threshold * 100, dtype=np.float32, workers=-1
        )
        first, second = np.nonzero(np.triu(table, 1))
        yield Pairs(first + start, second + start, table[first, second] / np.float32(100))


def _checked(texts: Sequence[str], first: Codes, second: Codes, threshold: float) -> Pairs:
    from rapidfuzz import fuzz, process

    found: Shares = process.cpdist(
        [texts[place] for place in first.tolist()],
        [texts[place] for place in second.tolist()],
        scorer=fuzz.ratio, score_cutoff=threshold * 100, dtype=np.float32, workers=-1,
    )  # fmt: skip
    similar = found > 0
    return Pairs(first[similar], second[similar], found[similar] / np.float32(100))


def _likely(first: Codes, second: Codes, lengths: Codes, keys: Keys, threshold: float) -> NDArray[np.bool_]:
    """Return which pairs can be similar: their lengths allow it, and enough of their minimum hashes are equal.

    A changed character changes three sets of three. Where changes lie as far apart as they can, texts at the threshold
    share (1 - 3 c) / (1 + 3 c) of these sets, c being the share that is changed; half of that is asked for.
    """
    shorter = np.minimum(lengths[first], lengths[second])
    fits = 2 * shorter >= threshold * (lengths[first] + lengths[second])
    changed = 3 * (1 - threshold)
    least = (1 - changed) / (1 + changed) / 2
    if least <= 0:
        return fits
    places = np.flatnonzero(fits)
    different = keys[first[places], :COMPARED] ^ keys[second[places], :COMPARED]
    equal = (different.view(np.uint8).reshape(len(places), COMPARED * HASHES) == 0).mean(axis=1, dtype=np.float32)
    fits[places] = equal >= least
    return fits


def _keys(texts: Sequence[str]) -> Keys:
    """Return each text's key in each tree, shape (texts, TREES)."""
    random = np.random.default_rng(0).integers(0, 2**32, size=(2, TREES * HASHES), dtype=np.uint64)
    factors, shifts = (random[0] | 1).astype(np.uint32), random[1].astype(np.uint32)
    found = np.empty((len(texts), TREES), dtype=np.uint64)

    def fill(start: int) -> None:
        found[start : start + BLOCK] = _keys_of_block(texts[start : start + BLOCK], factors, shifts)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(fill, range(0, len(texts), BLOCK)))
    return found


def _keys_of_block(texts: Sequence[str], factors: NDArray[np.uint32], shifts: NDArray[np.uint32]) -> Keys:
    grams, starts = _gram_hashes(texts)
    bytes_ = np.empty((TREES * HASHES, len(texts)), dtype=np.uint8)
    for number, (factor, shift) in enumerate(zip(factors, shifts, strict=True)):
        smallest = np.minimum.reduceat(grams * factor + shift, starts)
        bytes_[number] = smallest * np.uint32(0x9E3779B1) >> np.uint32(24)
    # The first hash of a tree is the first byte that sorting compares.
    return np.ascontiguousarray(bytes_.T).view(">u8").astype(np.uint64)


def _gram_hashes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], Codes]:
    """Return the hashes of all sets of three characters in a row, text after text, and where each text's begin."""
    padded = [f" {text}  " for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ends = np.cumsum([len(text) for text in padded])
    # Two multiplications with shifts make numbers of all 32 bits (the end of MurmurHash3).
    hashes = (
        codes[:-2] * np.uint32(0xCC9E2D51) ^ codes[1:-1] * np.uint32(0x1B873593) ^ codes[2:] * np.uint32(0xE6546B64)
    )
    hashes = (hashes ^ hashes >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ hashes >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    hashes ^= hashes >> np.uint32(16)
    pieces = [hashes[start : end - 2] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    pieces = [np.partition(piece, LONGEST)[:LONGEST] if len(piece) > LONGEST else piece for piece in pieces]
    sizes = np.array([len(piece) for piece in pieces], dtype=np.int64)
    return np.concatenate(pieces), np.cumsum(sizes) - sizes
