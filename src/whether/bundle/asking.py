"""Examples are asked in this process: by a bundle, or while a prompt is optimised. Nothing is written."""

from collections.abc import Sequence

from whether.generate.protocol import ChatModel, answer_call
from whether.outputs.decoding import DecodingStrategy, ParsedOutput, parse_generations
from whether.prompt.requests import requests_of
from whether.prompt.strategies import Strategy
from whether.records import Example, Generations, Task


def ask(
    model: ChatModel, task: Task, strategy: Strategy, decoding: DecodingStrategy, examples: Sequence[Example],
    *, progress: str | None = None,
) -> list[ParsedOutput]:  # fmt: skip
    """Return what a model answers to each example, asked in one call; one that it did not give has an `error`.

    Raises EngineError for what it cannot do.
    """
    requests = requests_of(strategy, decoding, examples, "dev")
    samples = answer_call(model, requests, progress=progress) if requests else []
    answers = [Generations.of(one, "", found) for one, found in zip(requests, samples, strict=True)]
    return [reply for _, reply in parse_generations(task, decoding, answers)] if answers else []
