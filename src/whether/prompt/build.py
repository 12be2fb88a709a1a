"""A prompt from its settings: a strategy, and how answers are got."""

from collections.abc import Sequence
from dataclasses import dataclass

from whether.chat.templates import TemplateError
from whether.config import CONF, PromptConfig, build, line_of, own_code_errors
from whether.errors import ConfigError
from whether.outputs.decoding import DecodingStrategy, build_decoding
from whether.prompt.strategies import Retrieval, Strategy
from whether.records import Example, Message, Task

ROLES = ("system", "user", "assistant")


def build_prompt(
    name: str, prompt: PromptConfig, task: Task, pool: Sequence[Example], seed: int
) -> tuple[Strategy, DecodingStrategy]:
    """Return a prompt's strategy, its demonstrations in the form that its decoding asks for, and its decoding.

    Raises ConfigError that begins with the prompt's file for what the two cannot be built from.
    """
    file = CONF / "prompt" / f"{name}.yaml"
    try:
        decoding = build_decoding(name, prompt, task, seed)
        strategy: Strategy = build(prompt.strategy, task, pool, seed, where=f"{file}: strategy")
    except TemplateError as fault:
        start = line_of(file, ("strategy", "instruction"))
        place = f"line {fault.line} of the instruction" if start is None else f"line {start + fault.line - 1}"
        raise ConfigError(f"{file}, {place}: {fault.reason}") from None

    strategy = checked_strategy(strategy, prompt, f"{file}: strategy")
    shown: Strategy = strategy if decoding.format_target is str else _FormattedDemonstrations(strategy, decoding)
    return shown, decoding


def checked_strategy(strategy: Strategy, prompt: PromptConfig, where: str) -> Strategy:
    """Return a prompt's strategy; what is wrong in one of the user's own is then a ConfigError that names `where`."""
    target = str(prompt.strategy["_target_"])
    return strategy if target.startswith("whether.") else _OwnStrategy(strategy, target, where)


def contains_answer(strategy: Strategy, example: Example) -> bool | None:
    """Return whether the passages that a prompt shows hold the answer; None where it shows none, or cannot tell."""
    inner = strategy
    while isinstance(inner, (_FormattedDemonstrations, _OwnStrategy)):
        inner = inner.strategy
    return inner.holds_answer(example) if isinstance(inner, Retrieval) else None


@dataclass(frozen=True)
class _OwnStrategy:
    """A strategy of the user's own, whose messages are checked."""

    strategy: Strategy
    target: str
    where: str

    def __call__(self, example: Example) -> list[Message]:
        """Return the messages. Raises ConfigError for what is none, and for an error in the strategy."""
        if not callable(self.strategy):
            raise ConfigError(
                f"{self.where}: {self.target} returned {self.strategy!r:.60}: expected a function of an example that"
                " returns its messages"
            )
        with own_code_errors(self.target, self.where):
            messages = self.strategy(example)
        if not isinstance(messages, list) or not messages:
            raise ConfigError(
                f"{self.where}: {self.target} gave {messages!r:.60} for example {example.id!r}: expected a list of"
                " messages, the question last"
            )
        for message in messages:
            if not isinstance(message, Message) or not isinstance(message.content, str) or message.role not in ROLES:
                raise ConfigError(
                    f"{self.where}: {self.target} gave {message!r:.60} for example {example.id!r}: expected"
                    f" whether.records.Message(role, content), the role one of {', '.join(ROLES)}, the content a text"
                )
        return messages


@dataclass(frozen=True)
class _FormattedDemonstrations:
    """A strategy whose demonstrations stand in the form that the decoding asks for."""

    strategy: Strategy
    decoding: DecodingStrategy

    def __call__(self, example: Example) -> list[Message]:
        """Return the messages."""
        return self.decoding.format_demonstrations(self.strategy(example))
