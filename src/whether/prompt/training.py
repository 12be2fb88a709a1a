"""What a checkpoint is tuned on where its tuner names a prompt: the messages that the prompt asks with."""

from collections.abc import Sequence

from whether.chat.messages import TrainingFormat, render_input
from whether.chat.templates import TemplateError
from whether.config import PromptConfig, build
from whether.errors import ConfigError
from whether.prompt.answering import DecodingStrategy
from whether.prompt.strategies import Retrieval, Strategy
from whether.records import Example, Message, Task


def training_format(prompt: PromptConfig, task: Task, pool: Sequence[Example], seed: int, where: str) -> TrainingFormat:
    """Return how examples are asked with a prompt, demonstrations drawn from `pool`, the training split.

    An example is never its own demonstration: where the prompt would show it, that turn is left out. `where` names the
    setting in messages. Raises ConfigError for a prompt that cannot be built, and for one that nothing can be learnt
    with: whose right outputs are not known (a chain of thought), or that shows passages.
    """
    try:
        decoding: DecodingStrategy = build(prompt.decoding, task, seed, where=f"{where}.decoding")
        strategy: Strategy = build(prompt.strategy, task, pool, seed, where=f"{where}.strategy")
    except TemplateError as fault:
        raise ConfigError(f"{where}.strategy.instruction, line {fault.line}: {fault.reason}") from None
    if decoding.after is not None:
        raise ConfigError(f"{where}: what the model should write before {decoding.after!r} is not known, so not learnt")
    if isinstance(strategy, Retrieval):
        raise ConfigError(f"{where}: tuning with passages is not built; tune without, and retrieve with the result")

    def lesson(example: Example) -> tuple[list[Message], str]:
        messages = _drop_own_demonstration(strategy(example), render_input(task, example), example.target)
        return decoding.shown(messages), decoding.show(example.target)

    return lesson


def _drop_own_demonstration(messages: list[Message], text: str, target: str) -> list[Message]:
    """Leave out a demonstration that is the example itself."""
    kept: list[Message] = []
    *demonstrations, asked = messages
    for message in demonstrations:
        if message == Message("assistant", target) and kept and kept[-1] == Message("user", text):
            kept.pop()
        else:
            kept.append(message)
    return [*kept, asked]
