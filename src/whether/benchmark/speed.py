"""How fast a checkpoint reads and writes on this machine, with requests that share nothing."""

import time
from typing import TYPE_CHECKING, NamedTuple

from whether.records import Decoding

if TYPE_CHECKING:
    from whether.engine.local import LocalModel
    from whether.records import Generation

INPUT_TOKENS = 256
"""Tokens of a request's prompt."""
OUTPUT_TOKENS = 16
"""Most tokens of a request's answer."""


class Speed(NamedTuple):
    """Keys of `whether.records.BenchmarkMetrics`."""

    tokens_per_second: float
    tokens_per_second_decode: float | None
    latency_p50: float
    latency_p95: float
    latency_input_tokens: int
    latency_output_tokens: float


def measure_speed(local: "LocalModel", requests: int, batch_size: int, seed: int) -> Speed:
    """Return tokens a second of reading and writing in a batch, and the latency of requests sent one at a time.

    Prompts are seeded random tokens, so that no two share a prefix and the data does not matter. A model may end its
    answer early: `latency_output_tokens` is the mean length that was measured, and writing is None where no answer had
    a second token.
    """
    import numpy as np

    length = min(INPUT_TOKENS, local.context_window - OUTPUT_TOKENS)
    prompts = _random_prompts(local, 1 + requests + batch_size, length, seed)
    warm_up, alone, batch = prompts[:1], prompts[1 : 1 + requests], prompts[1 + requests :]
    _timed(local, warm_up, OUTPUT_TOKENS)
    runs = [_timed(local, [prompt], OUTPUT_TOKENS) for prompt in alone]
    read_seconds, _ = _timed(local, batch, 1)
    both_seconds, answers = _timed(local, batch, OUTPUT_TOKENS)
    further_tokens = sum(max(0, _length(answer) - 1) for answer in answers)
    write_seconds = both_seconds - read_seconds
    p50, p95 = np.percentile([seconds for seconds, _ in runs], [50, 95])
    return Speed(
        tokens_per_second=batch_size * length / read_seconds,
        tokens_per_second_decode=further_tokens / write_seconds if further_tokens and write_seconds > 0 else None,
        latency_p50=float(p50),
        latency_p95=float(p95),
        latency_input_tokens=length,
        latency_output_tokens=sum(_length(answer) for _, (answer,) in runs) / requests,
    )


def _length(answer: "Generation") -> int:
    assert answer.output_tokens is not None, "a model on this machine counts its tokens"
    return answer.output_tokens


def _random_prompts(local: "LocalModel", count: int, length: int, seed: int) -> list[list[int]]:
    import numpy as np

    special = set(local.tokenizer.added_tokens_decoder)
    ordinary = [token for token in range(len(local.tokenizer)) if token not in special]
    prompts: list[list[int]] = np.random.default_rng(seed).choice(ordinary, size=(count, length)).tolist()
    return prompts


def _timed(local: "LocalModel", prompts: list[list[int]], tokens: int) -> "tuple[float, list[Generation]]":
    start = time.perf_counter()
    answers = [answer for (answer,) in local.generate_tokens(prompts, Decoding(tokens))]
    return time.perf_counter() - start, answers
