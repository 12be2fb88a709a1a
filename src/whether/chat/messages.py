"""From a task and an example to chat messages."""

from collections.abc import Callable, Sequence

from whether.chat.templates import render_template
from whether.records import Example, Message, Task

TrainingFormat = Callable[[Example], tuple[Sequence[Message], str]]
"""From an example to the messages that it is asked with and the answer that is learnt."""


def render_input(task: Task, example: Example) -> str:
    """Return how an example's input reads in a prompt."""
    if task.input_template:
        return render_template(task.input_template, dict(example.inputs), f"task {task.name}: input_template")
    return "\n".join(example.inputs.values())


def user_message(task: Task, example: Example) -> Message:
    """Return the user message that asks for an answer to one example."""
    return Message("user", render_input(task, example))


def zero_shot_messages(task: Task, example: Example) -> list[Message]:
    """Return instruction and input, nothing else: the layout that checkpoints are tuned on and zero_shot uses."""
    return [Message("system", task.instruction), user_message(task, example)]
