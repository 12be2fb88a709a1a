"""Several prompts asked at once: a token takes all weights through memory once, for many rows as for a few."""

from collections.abc import Sequence
from typing import NamedTuple

from whether.engine.requests import ChatModel
from whether.errors import EngineError
from whether.prompt.answering import DecodingStrategy, ParsedOutput, Writing
from whether.prompt.strategies import Strategy
from whether.records import Example


class RequestGroup(NamedTuple):
    """What is asked of one of the prompts."""

    decoding: DecodingStrategy
    strategy: Strategy
    examples: Sequence[Example]

    def ask(self, model: ChatModel) -> list[ParsedOutput] | EngineError:
        """Ask it by itself."""
        try:
            return self.decoding.ask(model, self.strategy, self.examples)
        except EngineError as error:
            return error


def generate_batched(
    model: ChatModel, questions: Sequence[RequestGroup], *, progress: str | None = None
) -> list[list[ParsedOutput] | EngineError]:
    """Return the replies to each question, as if it were asked by itself, in as few calls of the model as can be.

    A question that the model refuses, such as one with a prompt that is too long, has the error in its place.
    """
    found: dict[int, list[ParsedOutput] | EngineError] = {}
    for writing, places in _of_one_call(questions):
        asked = [questions[place] for place in places]
        replies = _ask_as_one(model, writing, asked, progress) if writing else None
        found |= zip(places, replies or [question.ask(model) for question in asked], strict=True)
    return [found[place] for place in range(len(questions))]


def _of_one_call(questions: Sequence[RequestGroup]) -> list[tuple[Writing | None, list[int]]]:
    """Group the places of questions that can go to a model in one call; those of which answers are not written."""
    groups: list[tuple[Writing | None, list[int]]] = []
    for place, question in enumerate(questions):
        writing = question.decoding.writing
        alike = next(
            (places for other, places in groups if writing and other and writing.decoding == other.decoding), None
        )
        if alike is None:
            groups.append((writing, [place]))
        else:
            alike.append(place)
    return groups


def _ask_as_one(
    model: ChatModel, writing: Writing, questions: Sequence[RequestGroup], progress: str | None
) -> list[list[ParsedOutput] | EngineError] | None:
    """Ask questions in one call; None if the model refuses one of them, and so all."""
    chats = [question.strategy(example) for question in questions for example in question.examples]
    try:
        written = iter(model.generate(chats, writing.decoding, progress=progress))
    except EngineError:
        return None
    writings = [own for question in questions if (own := question.decoding.writing)]
    return [
        [writing.understand(next(written)) for _ in question.examples]
        for question, writing in zip(questions, writings, strict=True)
    ]
