"""Choosing next tokens: the most likely ones, or drawn from the distribution that transformers draws from.

A token is drawn by an exponential race: the one with the largest probability / noise, with noise from Exp(1) for every
token of the vocabulary, has the probability that it should have. (`torch.multinomial` draws in the same way.) The noise
comes from a generator of the row's own, so that a sample does not depend on the batch's others; and where these change
the probabilities by a rounding error, the noise of each token stays, so that the choice almost surely stays too.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from whether.records import Sampling

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from whether.engine.prefix_tree import Tokens


def random_generator(sampling: Sampling, prompt: "Tokens", sample: int) -> "np.random.Generator":
    """Return the randomness of one sample: a function of the seed, the prompt's tokens and the sample's number."""
    import numpy as np

    digest = hashlib.blake2b(np.array([sampling.seed, sample, *prompt], "<i8").tobytes(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64DXSM(int.from_bytes(digest, "little")))


class Candidates(NamedTuple):
    """Tokens that rows may continue with."""

    scores: "Tensor"
    """Logits [B, N]; minus infinity where a row has fewer than N candidates: those are its last ones."""
    ids: "Tensor | None"
    """The token of each candidate [B, N]; None if a candidate's place is its token id."""
    counts: Sequence[int]
    """Candidates of each row."""


def candidates(logits: "Tensor", allowed: "Sequence[np.ndarray] | None") -> Candidates:
    """Pick each row's allowed tokens out of the logits [B, vocabulary]; None allows all."""
    import numpy as np
    import torch

    if allowed is None:
        return Candidates(logits, None, [logits.shape[1]] * len(logits))
    counts = [len(tokens) for tokens in allowed]
    padded = np.zeros((len(allowed), max(counts)), dtype=np.int64)
    for row, tokens in zip(padded, allowed, strict=True):
        row[: len(tokens)] = tokens
    ids = torch.from_numpy(padded).to(logits.device)
    is_padding = torch.arange(ids.shape[1], device=ids.device) >= torch.tensor(counts, device=ids.device)[:, None]
    return Candidates(logits.gather(1, ids).masked_fill(is_padding, -torch.inf), ids, counts)


TokenSampler = Callable[[Candidates, Sequence["np.random.Generator"]], list[int]]
"""Returns one token for each row, from its candidates and its generator."""


def token_sampler(sampling: Sampling) -> TokenSampler:
    """Return the function that chooses tokens in this way."""
    if sampling.temperature == 0:
        return lambda options, _: _tokens(options, options.scores.float().argmax(-1))  # slow in half precision

    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warp = LogitsProcessorList([TemperatureLogitsWarper(float(sampling.temperature))])
    if sampling.top_k > 0:
        warp.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warp.append(TopPLogitsWarper(sampling.top_p))

    def draw(options: Candidates, generators: "Sequence[np.random.Generator]") -> list[int]:
        probabilities = warp(None, options.scores.float()).softmax(-1)
        noise = _noise(probabilities, options.counts, generators)
        return _tokens(options, (probabilities / noise).argmax(-1))

    return draw


def _noise(like: "Tensor", counts: Sequence[int], generators: "Sequence[np.random.Generator]") -> "Tensor":
    """Return exponential noise for each row's candidates. It is made in 64 bits, where it is never 0 in practice."""
    import numpy as np
    import torch

    noise = np.ones(like.shape, dtype=np.float32)
    for row, count, generator in zip(noise, counts, generators, strict=True):
        row[:count] = generator.standard_exponential(count)
    return torch.from_numpy(noise).to(like.device)


def _tokens(options: Candidates, places: "Tensor") -> list[int]:
    chosen = places if options.ids is None else options.ids.gather(1, places[:, None])[:, 0]
    result: list[int] = chosen.tolist()
    return result
