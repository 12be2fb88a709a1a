"""Latency: requests sent to a model one at a time."""

import time
from collections.abc import Sequence
from itertools import cycle, islice

from whether.config import ServingConfig
from whether.generate.protocol import ChatModel, answer_call
from whether.records import Request, RequestTime


def single_request_latency(model: ChatModel, requests: Sequence[Request], serving: ServingConfig) -> list[RequestTime]:
    """Return the wall time of requests sent one at a time, from messages to answer: tokens and generation.

    Each is a batch of its own, so nothing is shared between requests and the whole prompt is computed every time, as
    for a server without a prefix cache. The first `serving.warmup` requests are not timed.
    """
    times = []
    for number, request in enumerate(islice(cycle(requests), serving.warmup + serving.requests)):
        start = time.perf_counter()
        answer_call(model, [request])
        if number >= serving.warmup:
            times.append(RequestTime(request.id, time.perf_counter() - start))
    return times
