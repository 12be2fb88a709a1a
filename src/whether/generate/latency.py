"""Latency: requests sent to a model one at a time."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import cycle, islice

from whether.config import ServingConfig
from whether.generate.protocol import ChatModel, PrefixKeeper, answer_call
from whether.records import Request, RequestTime


def single_request_latency(model: ChatModel, requests: Sequence[Request], serving: ServingConfig) -> list[RequestTime]:
    """Return the wall time of requests sent one at a time, from messages to answer: tokens and generation.

    The model keeps what the last request began with, as servers do, so an instruction or demonstrations that all
    requests share are not computed again. The first `serving.warmup` requests are not timed.
    """
    times = []
    with model.keeping_prefix() if isinstance(model, PrefixKeeper) else nullcontext():
        for number, request in enumerate(islice(cycle(requests), serving.warmup + serving.requests)):
            start = time.perf_counter()
            answer_call(model, [request])
            if number >= serving.warmup:
                times.append(RequestTime(request.id, time.perf_counter() - start))
    return times
