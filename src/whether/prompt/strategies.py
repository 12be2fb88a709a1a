"""Strategies: how one example, with the labelled pool, becomes chat messages.

Each is a builder `(task, pool, seed, *, ...) -> Strategy`; its keyword-only arguments are what conf/prompt/<name>.yaml
sets. The pool is the training split. Demonstrations are turns of the chat: the input as `user`, its target as
`assistant`, between the instruction and the question.
"""

import random
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Annotated

from pydantic import Field

from whether.engine.chat import Message, input_text, plain_messages, question
from whether.errors import ConfigError
from whether.records import Example, Task

Strategy = Callable[[Example], list[Message]]
Demonstrations = Annotated[int, Field(ge=1)]


def zero_shot(task: Task, pool: Sequence[Example], seed: int) -> Strategy:  # noqa: ARG001 - every builder is called alike
    """Return instruction and input, nothing else."""
    return lambda example: plain_messages(task, example)


def few_shot(task: Task, pool: Sequence[Example], seed: int, *, examples: Demonstrations) -> Strategy:
    """Show one seeded random set of demonstrations before every input, balanced over the labels as far as it goes.

    All queries share these tokens, so they are computed once. Raises ConfigError if the pool holds too few examples.
    """
    _check_pool(pool, examples)
    chosen = _balanced(task, pool, examples, random.Random(seed))
    return lambda example: _with_demonstrations(task, chosen, example)


def knn(task: Task, pool: Sequence[Example], seed: int, *, examples: Demonstrations) -> Strategy:  # noqa: ARG001
    """Show each input's nearest labelled examples, the nearest last, beside the question (Liu et al. 2022).

    Nearness is the cosine of TF-IDF vectors over words, word pairs and character n-grams of the rendered inputs. An
    example is never its own demonstration. Raises ConfigError if the pool holds too few examples.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    _check_pool(pool, examples + 1)
    vectorizer = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]+"),  # noqa: S106
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True),
    )
    vectors = vectorizer.fit_transform([input_text(task, example) for example in pool])

    def messages(example: Example) -> list[Message]:
        similarity = (vectors @ vectorizer.transform([input_text(task, example)]).T).toarray().ravel()
        ranked = (pool[index] for index in (-similarity).argsort(kind="stable"))
        nearest = [neighbour for neighbour in ranked if neighbour.id != example.id][:examples]
        return _with_demonstrations(task, nearest[::-1], example)

    return messages


def _with_demonstrations(task: Task, demonstrations: Sequence[Example], example: Example) -> list[Message]:
    instruction, query = plain_messages(task, example)
    turns = ((question(task, shown), Message("assistant", shown.target)) for shown in demonstrations)
    return [instruction, *chain.from_iterable(turns), query]


def _balanced(task: Task, pool: Sequence[Example], count: int, generator: random.Random) -> list[Example]:
    """Draw examples label by label in turn; a task without labels is one group."""
    shuffled = generator.sample(pool, len(pool))
    groups = [[example for example in shuffled if example.target == label] for label in task.labels] or [shuffled]
    generator.shuffle(groups)
    in_turn = [example for turn in zip_longest(*groups) for example in turn if example is not None]
    return generator.sample(in_turn[:count], count)


def _check_pool(pool: Sequence[Example], needed: int) -> None:
    if len(pool) < needed:
        raise ConfigError(
            f"the training split holds {len(pool)} examples and the prompt needs {needed}: lower `examples` of its"
            " strategy, or give the task more rows"
        )
