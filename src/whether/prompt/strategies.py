"""Strategies: how one example, with the labelled pool, becomes chat messages.

Each is a builder `(task, pool, seed, *, ...) -> Strategy`; its keyword-only arguments are what conf/prompt/<name>.yaml
sets. The pool is the training split. Demonstrations are turns of the chat: the input as `user`, its target as
`assistant`, between the instruction and the question.

`instruction` is a sandboxed Jinja template that takes the place of the task's own instruction. Its variables:
`instruction` (the task's), `task` (its name), `labels`, `definitions` (label → what it means), `inputs` (names of the
input fields), `output` (label, text or json) and `schema` (JSON Schema of a structured answer, as text).
"""

import json
import logging
import random
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from whether.chat.messages import render_input, user_message
from whether.chat.templates import render_template
from whether.errors import ConfigError
from whether.outputs.kinds import output_of
from whether.prompt.knowledge import Knowledge, Passage
from whether.prompt.selection import balanced, diverse
from whether.prompt.similarity import Similarity, build_index
from whether.records import Example, Message, Task

logger = logging.getLogger(__name__)

Strategy = Callable[[Example], list[Message]]
Demonstrations = Annotated[int, Field(ge=1)]


def zero_shot(task: Task, pool: Sequence[Example], seed: int, *, instruction: str = "") -> Strategy:  # noqa: ARG001 - every builder is called alike
    """Return instruction and input, nothing else."""
    system = _instruction(task, instruction)
    return lambda example: [system, user_message(task, example)]


def few_shot(
    task: Task,
    pool: Sequence[Example],
    seed: int,
    *,
    examples: Demonstrations,
    choose: Literal["balanced", "random", "diverse"] = "balanced",
    draw: Annotated[int, Field(ge=0)] = 0,
    instruction: str = "",
) -> Strategy:
    """Show one seeded set of demonstrations before every input; all queries share these tokens.

    `balanced`: the same number of each label, as far as it goes. `random`: drawn from the pool as it is. `diverse`: the
    examples that together are nearest to all others (k-means on TF-IDF vectors, the example nearest to each centre).
    Another `draw` is another set, or another order of it. Of a pool that holds fewer, all are shown.
    """
    examples = _at_most(examples, len(pool))
    generator = random.Random(f"{seed}, {draw}" if draw else seed)
    if choose == "balanced":
        chosen = balanced(task, pool, examples, generator)
    elif choose == "random":
        chosen = generator.sample(pool, examples)
    else:
        chosen = generator.sample(diverse(task, pool, examples, seed), examples)
    system = _instruction(task, instruction)
    return lambda example: [system, *_demonstration_messages(task, chosen), user_message(task, example)]


def fixed(
    task: Task,
    pool: Sequence[Example],
    seed: int,  # noqa: ARG001
    *,
    ids: Annotated[list[str], Field(min_length=1)],
    instruction: str = "",
) -> Strategy:
    """Show the training examples with these ids, in this order. Raises ConfigError naming an id that is not there."""
    known = {example.id: example for example in pool}
    missing = [name for name in ids if name not in known]
    if missing:
        raise ConfigError(
            f"ids: the training split has no example {', '.join(missing)}: ids are those of"
            " artifacts/prepare/train.jsonl, and change with task, splits and seed"
        )
    chosen = [known[name] for name in ids]
    system = _instruction(task, instruction)
    return lambda example: [system, *_demonstration_messages(task, chosen), user_message(task, example)]


def knn(
    task: Task,
    pool: Sequence[Example],
    seed: int,  # noqa: ARG001
    *,
    examples: Demonstrations,
    by: Similarity = "tfidf",
    instruction: str = "",
) -> Strategy:
    """Show each input's nearest labelled examples, the nearest last, with the question (Liu et al. 2022).

    Nearness is `by` one of `whether.prompt.similarity`'s measures over the rendered inputs. An example is never its own
    demonstration, so of a pool that holds fewer all but one are shown.
    """
    examples = _at_most(examples, len(pool) - 1)
    rank = build_index(by, [render_input(task, example) for example in pool])
    system = _instruction(task, instruction)

    def messages(example: Example) -> list[Message]:
        ranked = (pool[number] for number in rank(render_input(task, example)))
        nearest = [neighbour for neighbour in ranked if neighbour.id != example.id][:examples]
        return [system, *_demonstration_messages(task, nearest[::-1]), user_message(task, example)]

    return messages


def retrieval(
    task: Task,
    pool: Sequence[Example],
    seed: int,
    *,
    folder: str,
    passages: Annotated[int, Field(ge=1)] = 3,
    words: Annotated[int, Field(ge=20)] = 120,
    by: Similarity = "tfidf",
    gold: str | None = None,
    examples: Annotated[int, Field(ge=0)] = 0,
    instruction: str = "",
) -> "Retrieval":
    """Show the passages of a knowledge folder that are nearest to the input, the nearest last, before the question.

    `folder` holds .md and .txt files, cut into passages of about `words` words at paragraph borders; `passages` of them
    are shown. `gold` names an input field that holds the file name of the document with the answer, by which retrieval
    recall is measured; without it a text task's recall is whether the answer stands in a passage. With `examples`, so
    many balanced demonstrations stand before, without passages. Raises ConfigError for a folder without documents.
    """
    examples = _at_most(examples, len(pool)) if examples else 0
    shown = balanced(task, pool, examples, random.Random(seed)) if examples else []
    opening = [_instruction(task, instruction), *_demonstration_messages(task, shown)]
    return Retrieval(task, Knowledge(Path(folder), words, by, passages), gold, opening)


class Retrieval:
    """A strategy that shows passages, and can tell whether the right ones were found."""

    def __init__(self, task: Task, knowledge: Knowledge, gold: str | None, opening: Sequence[Message]):
        self._task, self._knowledge, self._gold, self._opening = task, knowledge, gold, opening

    def __call__(self, example: Example) -> list[Message]:
        """Return the messages."""
        found = self._found(example)
        context = "\n\n".join(f"[{passage.document}]\n{passage.text}" for passage in reversed(found))
        asked = user_message(self._task, example).content
        return [*self._opening, Message("user", f"Context:\n{context}\n\n{asked}")]

    def holds_answer(self, example: Example) -> bool | None:
        """Return whether the passages shown hold the answer; None where that cannot be told (see `retrieval`)."""
        found = self._found(example)
        if self._gold is not None:
            if self._gold not in example.inputs:
                known = ", ".join(example.inputs)
                raise ConfigError(f"gold: {self._gold!r} is no input of task {self._task.name}; known: {known}")
            return any(passage.document == example.inputs[self._gold] for passage in found)
        kind = output_of(self._task)
        held = [kind.contained_in(example.target, passage.text) for passage in found]
        return None if None in held else any(held)

    def _found(self, example: Example) -> list[Passage]:
        return self._knowledge.find(render_input(self._task, example))


def _instruction(task: Task, template: str) -> Message:
    """Return the system message: the task's instruction, or a template filled with what is known of the task."""
    if not template:
        return Message("system", task.instruction)
    variables = {
        "instruction": task.instruction,
        "task": task.name,
        "labels": task.labels,
        "definitions": task.definitions,
        "inputs": task.inputs,
        "output": task.output,
        "schema": json.dumps(output_of(task).json_schema(), ensure_ascii=False),
    }
    return Message("system", render_template(template, variables, "instruction").strip())


def _demonstration_messages(task: Task, demonstrations: Sequence[Example]) -> list[Message]:
    pairs = ((user_message(task, shown), Message("assistant", shown.target)) for shown in demonstrations)
    return list(chain.from_iterable(pairs))


def _at_most(wanted: int, there: int) -> int:
    """Return how many demonstrations are shown where so many are there. Raises ConfigError where there are none."""
    if there < 1:
        raise ConfigError(
            "the training split holds too few examples for a prompt that shows some: give the task more rows, or"
            " leave the prompt out"
        )
    if there < wanted:
        logger.info("a prompt shows %d examples in place of %d: the training split holds no more", there, wanted)
    return min(wanted, there)
