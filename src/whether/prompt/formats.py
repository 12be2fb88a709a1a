"""Changes of a prompt's format that keep its meaning, to see how much an arm depends on its format.

After FormatSpread (Sclar et al. 2024, arXiv:2310.11324): separators, casing, names, order and white space. A format
changes how a task reads (its inputs' template, its instruction, its labels' spelling and order) or how messages are
ordered; any strategy and any decoding then works on it unchanged, and answers are mapped back by `FormatRecord`.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from whether.prompt.strategies import Strategy
from whether.records import Example, Message, Task

Rearrange = Callable[[list[Message]], list[Message]]


class PromptFormat(NamedTuple):
    """One other way to write the same prompt."""

    name: str
    task: Task
    """The task as it reads then."""
    labels: dict[str, str]
    """The task's label → how it is spelt then; empty where labels are unchanged."""
    rearrange: Rearrange

    def example(self, example: Example) -> Example:
        """Return an example with its label spelt as in this format."""
        return replace(example, target=self.labels.get(example.target, example.target))

    def strategy(self, strategy: Strategy) -> Strategy:
        """Return a strategy of the varied task with its messages rearranged."""
        return lambda example: self.rearrange(strategy(example))


INPUT_FORMS = {
    "input_colon": "Input: {}",
    "input_line": "INPUT:\n{}",
    "input_dash": "input - {}",
    "input_quoted": '"{}"',
    "input_tagged": "<input>\n{}\n</input>",
    "input_blank_lines": "\n{}\n",
    "answer_cue": "{}\nAnswer:",
}
"""Name → what stands around an input."""
LABEL_SPELLINGS: dict[str, Callable[[str], str]] = {
    "labels_upper": str.upper,
    "labels_title": str.title,
    "labels_spaced": lambda label: re.sub(r"[_-]+", " ", label),
}
LABEL_LISTS = {"labels_bars": " | ", "labels_lines": "\n- "}
"""Name → what stands between the labels of the instruction, and before the first one if it is a line break."""


NAMES = (
    *INPUT_FORMS, "fields_named", "instruction_heading", "instruction_lines", *LABEL_SPELLINGS, *LABEL_LISTS,
    "labels_reversed", "labels_shuffled", "demonstrations_reversed", "demonstrations_shuffled",
)  # fmt: skip


def prompt_formats(task: Task, seed: int) -> list[PromptFormat]:
    """Return every format that changes something for this task; order of demonstrations and labels by `seed`."""
    found = [_of_task(name, replace(task, input_template=_wrap(task, form))) for name, form in INPUT_FORMS.items()]
    if not task.input_template and task.inputs:
        names = "\n".join(f"{name.replace('_', ' ').title()}: {{{{ {name} }}}}" for name in task.inputs)
        found.append(_of_task("fields_named", replace(task, input_template=names)))
    heading = f"### Instruction\n{task.instruction}"
    found.append(_of_task("instruction_heading", replace(task, instruction=heading)))
    sentences = "\n".join(re.split(r"(?<=[.?!:])\s+", task.instruction))
    found.append(_of_task("instruction_lines", replace(task, instruction=sentences)))
    if task.labels:
        found += [_relabel(task, name, spell) for name, spell in LABEL_SPELLINGS.items()]
        found += [_relist(task, name, separator) for name, separator in LABEL_LISTS.items()]
        shuffled = random.Random(seed).sample(task.labels, len(task.labels))
        found += [_ordered(task, "labels_reversed", task.labels[::-1]), _ordered(task, "labels_shuffled", shuffled)]
    found.append(
        PromptFormat("demonstrations_reversed", task, {}, lambda messages: _demonstrations(messages, _reverse))
    )
    found.append(
        PromptFormat("demonstrations_shuffled", task, {}, lambda messages: _demonstrations(messages, _shuffle(seed)))
    )
    return found


def changes_prompt(form: PromptFormat, own: Strategy, varied: Strategy, examples: Sequence[Example]) -> bool:
    """Return whether a format changes what an arm asks of at least one of some examples."""
    return any(own(example) != varied(form.example(example)) for example in examples)


def _reverse(pairs: list[list[Message]]) -> list[list[Message]]:
    """Return demonstrations in the other order."""
    return pairs[::-1]


def _shuffle(seed: int) -> Callable[[list[list[Message]]], list[list[Message]]]:
    """Return a function that puts demonstrations in one other order."""
    return lambda pairs: random.Random(seed).sample(pairs, len(pairs))


def _demonstrations(
    messages: list[Message], reorder: Callable[[list[list[Message]]], list[list[Message]]]
) -> list[Message]:
    """Reorder the pairs of user and assistant between what comes first and the question."""
    start = next((index for index, message in enumerate(messages) if message.role == "user"), len(messages))
    middle = messages[start:-1]
    pairs = [middle[index : index + 2] for index in range(0, len(middle), 2)]
    return [*messages[:start], *chain.from_iterable(reorder(pairs)), *messages[-1:]]


def _of_task(name: str, task: Task) -> PromptFormat:
    return PromptFormat(name, task, {}, lambda messages: messages)


def _wrap(task: Task, form: str) -> str:
    template = task.input_template or "\n".join(f"{{{{ {name} }}}}" for name in task.inputs)
    return form.format(template)


def _relabel(task: Task, name: str, spell: Callable[[str], str]) -> PromptFormat:
    """Spell labels in another way; unchanged, where two of them would become one."""
    labels = {label: spell(label) for label in task.labels}
    if len({spelt.casefold() for spelt in labels.values()}) < len(labels):
        return _of_task(name, task)
    return PromptFormat(
        name,
        replace(
            task,
            labels=list(labels.values()),
            instruction=_respelt(task.instruction, labels),
            definitions={labels.get(label, label): text for label, text in task.definitions.items()},
            # Another spelling can take more tokens.
            max_new_tokens=2 * task.max_new_tokens,
        ),
        labels,
        lambda messages: messages,
    )


def _respelt(instruction: str, labels: dict[str, str]) -> str:
    """Spell labels in the new way: in the list of all of them, or as words anywhere if there is no such list."""
    listed = ", ".join(labels)
    if listed in instruction:
        return instruction.replace(listed, ", ".join(labels.values()))
    words = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{words})(?!\w)", lambda found: labels[found[0]], instruction)


def _relist(task: Task, name: str, separator: str) -> PromptFormat:
    first = separator if separator.startswith("\n") else ""
    listed = first + separator.join(task.labels)
    return _of_task(name, replace(task, instruction=task.instruction.replace(", ".join(task.labels), listed)))


def _ordered(task: Task, name: str, labels: list[str]) -> PromptFormat:
    instruction = task.instruction.replace(", ".join(task.labels), ", ".join(labels))
    return _of_task(name, replace(task, labels=labels, instruction=instruction))
