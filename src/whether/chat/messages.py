"""From a task and an example to chat messages."""

from collections.abc import Callable, Sequence

from whether.chat.templates import fill
from whether.records import Example, Message, Task

Lesson = Callable[[Example], tuple[Sequence[Message], str]]
"""From an example to the messages that it is asked with and the answer that is learnt."""


def input_text(task: Task, example: Example) -> str:
    """Return how an example's input reads in a prompt."""
    if task.input_template:
        return fill(task.input_template, dict(example.inputs), f"task {task.name}: input_template")
    return "\n".join(example.inputs.values())


def question(task: Task, example: Example) -> Message:
    """Return the user message that asks for an answer to one example."""
    return Message("user", input_text(task, example))


def plain_messages(task: Task, example: Example) -> list[Message]:
    """Return instruction and input, nothing else: the layout that checkpoints are tuned on and zero_shot uses."""
    return [Message("system", task.instruction), question(task, example)]
