"""Which labelled examples a fixed set of demonstrations holds."""

import random
from collections.abc import Sequence
from itertools import zip_longest

from whether.chat.messages import render_input
from whether.prompt.similarity import tfidf_vectorizer
from whether.records import Example, Task


def balanced(task: Task, pool: Sequence[Example], count: int, generator: random.Random) -> list[Example]:
    """Draw examples label by label in turn; a task without labels is one group."""
    shuffled = generator.sample(pool, len(pool))
    groups = [[example for example in shuffled if example.target == label] for label in task.labels] or [shuffled]
    generator.shuffle(groups)
    in_turn = [example for turn in zip_longest(*groups) for example in turn if example is not None]
    return generator.sample(in_turn[:count], count)


def diverse(task: Task, pool: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return `count` examples that cover the pool: the one nearest to the centre of each cluster of TF-IDF vectors.

    Clusters are k-means' (Su et al. 2023 select by votes of neighbours to the same end).
    """
    from sklearn.cluster import KMeans

    vectors = tfidf_vectorizer().fit_transform([render_input(task, example) for example in pool])
    distances = KMeans(count, n_init=4, random_state=seed).fit(vectors).transform(vectors)
    chosen: list[int] = []
    for cluster in range(count):
        ranked = distances[:, cluster].argsort(kind="stable")
        chosen.append(next(int(number) for number in ranked if int(number) not in chosen))
    return [pool[number] for number in chosen]
