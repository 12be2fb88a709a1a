"""Log-likelihoods of continuations, with every token that requests share computed once."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from whether.engine import unshared
from whether.engine.prefix_tree import Pass, PrefixTree, Tokens
from whether.engine.requests import ScoringRequest
from whether.model.memory import Limits, retry_on_oom
from whether.records import ContinuationScore

if TYPE_CHECKING:
    from torch import Tensor

    from whether.engine.caches import KeptPrefix

LOGIT_ROWS = 8
"""Positions whose logits are reduced together."""


class Target(NamedTuple):
    """A request's tokens to predict: those after positions `first`, `first + 1`, ... of its sequence."""

    request: int
    first: int
    tokens: Tokens


def score(
    model: Any, requests: Sequence[ScoringRequest], limits: Limits, *, tree: bool, kept: "KeptPrefix | None" = None
) -> list[ContinuationScore]:
    """Return the score of each request, whose contexts are not empty, over the tree or plainly.

    Over the tree they may begin with what is `kept` of an earlier call.
    """
    targets: dict[Tokens, list[Target]] = defaultdict(list)
    for index, (context, continuation) in enumerate(requests):
        if continuation:
            sequence = (*context, *continuation[:-1])
            targets[sequence].append(Target(index, len(context) - 1, continuation))
    totals = Totals(len(requests))
    todo = dict(targets)

    def attempt(limits: Limits) -> Iterator[None]:
        """Score what is to do, after forgetting what was begun and not ended."""
        totals.clear(target.request for part in todo.values() for target in part)
        parts = partial(_score_on_tree, kept=kept) if tree else _score_plainly
        for ended in parts(model, dict(todo), totals, limits):
            for sequence in ended:
                del todo[sequence]
            yield

    for _ in retry_on_oom(limits, attempt):
        pass
    return [
        ContinuationScore(total, greedy, len(request.continuation))
        for request, total, greedy in zip(requests, totals.log_likelihood, totals.is_greedy, strict=True)
    ]


class Totals:
    """Sums over the tokens of each request."""

    def __init__(self, requests: int):
        self.log_likelihood = [0.0] * requests
        self.is_greedy = [True] * requests

    def clear(self, requests: Iterable[int]) -> None:
        """Begin requests again."""
        for request in requests:
            self.log_likelihood[request], self.is_greedy[request] = 0.0, True

    def add(self, logits: "Tensor", rows: Sequence[int], tokens: Sequence[int], requests: Sequence[int]) -> None:
        """Add predictions: the logits [N, vocabulary] of row `rows[k]`, in rising order, predict `tokens[k]`.

        `requests[k]` is what that counts for.
        """
        import torch

        row, token = (torch.tensor(values, device=logits.device) for values in (rows, tokens))
        log_probabilities = torch.empty_like(row, dtype=torch.float32)
        greedy = logits[row, token] == logits.amax(-1)[row]
        for start in range(0, len(logits), LOGIT_ROWS):
            # Few rows at a time stay in a processor's cache from one step to the next.
            part = slice(bisect_left(rows, start), bisect_left(rows, start + LOGIT_ROWS))
            values = logits[start : start + LOGIT_ROWS].float()
            # Of several likeliest tokens the first one counts.
            likeliest = values[row[part][greedy[part]] - start].argmax(-1)
            greedy[part][greedy[part].clone()] = likeliest == token[part][greedy[part]]
            log_probabilities[part] = values.log_softmax(-1)[row[part] - start, token[part]]
        for request, value, best in zip(requests, log_probabilities.tolist(), greedy.tolist(), strict=True):
            self.log_likelihood[request] += value
            self.is_greedy[request] &= best


def _score_on_tree(
    model: Any, targets: dict[Tokens, list[Target]], totals: Totals, limits: Limits, kept: "KeptPrefix | None"
) -> Iterator[Sequence[Tokens]]:
    """Add every target to the totals, and yield the sequences that end in a pass after each."""
    from whether.engine.caches import chain_for

    tree = PrefixTree(list(targets))
    first = min((target.first for some in targets.values() for target in some), default=0)
    chain, start = chain_for(model, tree, limits.nodes, kept, first)
    for step in tree.passes(limits.nodes, len(tree.sequences), start=start):
        picks = sorted(_picks(tree, step, targets))
        nodes = sorted({node for node, _, _ in picks})
        logits = chain.run(step, nodes)
        if picks:
            row = {node: index for index, node in enumerate(nodes)}
            at, tokens, requests = zip(*picks, strict=True)
            totals.add(logits, [row[node] for node in at], tokens, requests)
        yield [tree.sequences[index] for index, _ in tree.ends(step)]


def _picks(tree: PrefixTree, step: Pass, targets: dict[Tokens, list[Target]]) -> "list[tuple[int, int, int]]":
    """Return (node, token to predict there, request) for what a pass can predict."""
    result = []
    for index, path in enumerate(step.paths, step.first):
        for request, first, tokens in targets[tree.sequences[index]]:
            for position in range(max(first, step.cached), step.cached + len(path)):
                result.append((path[position - step.cached], tokens[position - first], request))
    return result


def _score_plainly(
    model: Any, targets: dict[Tokens, list[Target]], totals: Totals, limits: Limits
) -> Iterator[Sequence[Tokens]]:
    """Add every target to the totals, and yield the sequences of each batch after it."""
    sequences = list(targets)
    for indices in unshared.batches([len(sequence) for sequence in sequences], limits.nodes):
        batch = [sequences[index] for index in indices]
        start = min(target.first for sequence in batch for target in targets[sequence])
        logits = unshared.logits(model, batch, start)
        for sequence, row in zip(batch, logits, strict=True):
            for request, first, tokens in targets[sequence]:
                places = range(first - start, first - start + len(tokens))
                totals.add(row, places, tokens, [request] * len(tokens))
        yield batch
