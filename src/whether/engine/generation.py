"""Greedy generation for many prompts: shared prefixes computed once, rows decoded together."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from whether.engine.prefix_tree import Pass, PrefixTree

if TYPE_CHECKING:
    from torch import Tensor

MAX_NODES = 512
"""Tokens of a pass over the prompts."""
MAX_ROWS = 64
"""Rows of a decoding batch."""
MAX_CACHE = 2 * 2**30
"""Bytes for the keys and values of a decoding batch. A constant, so that batches do not depend on the machine."""
DROP = 0.75
"""Finished rows leave a batch when no more than this share is still at work: leaving costs a copy of the others."""


class Ending(NamedTuple):
    """When a row is done."""

    max_new_tokens: int
    eos_token_ids: frozenset[int]
    is_stopped: Callable[[list[int]], bool]
    """Whether the new tokens so far end with a stop string."""


class Batch(NamedTuple):
    """Sequences `first` to `last` (exclusive) of a tree, decoded together, and the passes that compute them."""

    first: int
    last: int
    shared: int
    """Length of their common prefix."""
    passes: list[Pass]


class Answer(NamedTuple):
    """What was written after one prompt, and its share of its batch's seconds."""

    token_ids: list[int]
    seconds: float


def answer_on_tree(model: Any, tree: PrefixTree, ending: Ending) -> Iterator[tuple[list[int], list[Answer]]]:
    """Yield indices of the tree's sequences and their answers, batch by batch."""
    from whether.engine.caches import Chain

    chain = Chain(model)
    for batch in plan_batches(tree, ending.max_new_tokens, bytes_per_token(model)):
        start = time.perf_counter()
        outputs = _answer_batch(model, chain, tree, batch, ending)
        seconds = (time.perf_counter() - start) / len(outputs)
        yield list(range(batch.first, batch.last)), [Answer(output, seconds) for output in outputs]


def bytes_per_token(model: Any) -> int:
    """Return the size of one token's keys and values."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * model.dtype.itemsize)


def plan_batches(tree: PrefixTree, max_new_tokens: int, token_bytes: int) -> Iterator[Batch]:
    """Divide a tree's sequences into batches of at most `MAX_ROWS` rows whose own tokens fit into `MAX_CACHE`."""
    room = MAX_CACHE // token_bytes
    max_rows = max(1, min(MAX_ROWS, room // (MAX_NODES + max_new_tokens)))
    first, last = 0, 0
    passes: list[Pass] = []
    stem: list[Pass] = []  # passes since the last one in which a sequence ended
    for step in tree.passes(MAX_NODES, max_rows):
        stem.append(step)
        ends = len(ending_paths(tree, step))
        if not ends:
            continue
        longest = max(map(len, tree.sequences[first : last + ends]))
        tokens = (last + ends - first) * (longest - tree.common(first, last + ends) + max_new_tokens)
        if first < last and (last + ends - first > max_rows or tokens > room):
            yield Batch(first, last, tree.common(first, last), passes)
            first, passes = last, []
        last += ends
        passes += stem
        stem = []
    if first < last:
        yield Batch(first, last, tree.common(first, last), passes)


def ending_paths(tree: PrefixTree, step: Pass) -> list[Sequence[int]]:
    """Return the nodes in this pass of those sequences that end in it: all of a subtree, one of a chain."""
    sequences = tree.sequences[step.first : step.first + len(step.paths)]
    return [path for path, tokens in zip(step.paths, sequences, strict=True) if step.cached + len(path) == len(tokens)]


def _answer_batch(model: Any, chain: Any, tree: PrefixTree, batch: Batch, ending: Ending) -> list[list[int]]:
    """Compute a batch's prompts, then decode it."""
    import torch

    from whether.engine.caches import DecodingBatch

    lengths = [len(tokens) for tokens in tree.sequences[batch.first : batch.last]]
    decoding = DecodingBatch(model, lengths, batch.shared, ending.max_new_tokens)
    tokens: list[Tensor] = []
    row = 0
    for step in batch.passes:
        paths = ending_paths(tree, step)
        logits = chain.run(step, [path[-1] for path in paths])
        if paths:
            in_cache = [[*range(step.cached), *(step.cached + node for node in path)] for path in paths]
            decoding.fill(chain, row, in_cache)
            tokens.append(logits.argmax(-1))
            row += len(paths)
    return decode(decoding, torch.cat(tokens), ending)


def decode(decoding: Any, tokens: "Tensor", ending: Ending) -> list[list[int]]:
    """Generate greedily from each row's first new token [B] on and return each row's new tokens."""
    import torch

    outputs: list[list[int]] = [[] for _ in tokens]
    rows = list(range(len(outputs)))
    finished: set[int] = set()
    while True:
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if row not in finished and not _append(outputs[row], token, ending):
                finished.add(row)
        working = [place for place, row in enumerate(rows) if row not in finished]
        if not working:
            return outputs
        if len(working) <= DROP * len(rows):
            kept = torch.tensor(working, device=tokens.device)
            decoding.keep(kept)
            tokens, rows = tokens[kept], [rows[place] for place in working]
        tokens = decoding.step(tokens).argmax(-1)


def _append(output: list[int], token: int, ending: Ending) -> bool:
    """Add a new token to a row; return whether the row goes on."""
    if token in ending.eos_token_ids:
        return False
    output.append(token)
    return len(output) < ending.max_new_tokens and not ending.is_stopped(output)


def stop_finder(tokenizer: Any, stop: Sequence[str]) -> Callable[[list[int]], bool]:
    """Return a function that tells whether new tokens have just completed one of the stop strings.

    It decodes only as many of the last tokens as the longest stop string can span: a token is at least one byte.
    A few more are added, because some tokens are invisible (special ones, the first byte of a character).
    """
    window = max((len(text.encode()) for text in stop), default=0) + 4

    def is_stopped(token_ids: list[int]) -> bool:
        if not stop:
            return False
        text = tokenizer.decode(token_ids[-window:])
        return any(string in text for string in stop)

    return is_stopped


def cut(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop string."""
    return text[: min((text.find(string) for string in stop if string in text), default=len(text))]


def shared_lengths(tree: PrefixTree) -> list[int]:
    """Return how many first tokens of each sequence some other one has too."""
    after = [*tree.shared[1:], 0]
    return [max(pair) for pair in zip(tree.shared, after, strict=False)]
