"""Generation for many prompts: shared prefixes computed once, rows decoded together."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from whether.engine.prefix_tree import Pass, PrefixTree, Tokens
from whether.engine.rows import DecodingRow, FinishedRow, RowDecoder
from whether.engine.unshared import generate_unshared
from whether.model.memory import Limits, retry_on_oom
from whether.records import Generation

if TYPE_CHECKING:
    from torch import Tensor

    from whether.engine.caches import KeptPrefix

DROP = 0.75
"""Finished rows leave a batch when no more than this share is still at work: leaving costs a copy of the others."""


class Batch(NamedTuple):
    """Sequences `first` to `last` (exclusive) of a tree, decoded together, and the passes that compute them."""

    first: int
    last: int
    shared: int
    """Length of their common prefix."""
    passes: list[Pass]
    width: int
    """Rows of each sequence that are decoded at the same time. One that needs more is alone in its batch."""


def generate_on_tree(
    model: Any, tree: PrefixTree, writer: RowDecoder, limits: Limits, kept: "KeptPrefix | None" = None
) -> Iterator[list[FinishedRow]]:
    """Yield the answers to each of the tree's sequences, a batch at a time; those to one sequence are in order.

    Sequences may begin with what is `kept` of an earlier call.
    """
    answered = 0

    def attempt(limits: Limits) -> Iterator[list[FinishedRow]]:
        nonlocal answered
        before = answered
        rest = PrefixTree(tree.sequences[before:]) if before else tree
        for batch, answers in _answer_batches(model, rest, writer, limits, kept):
            yield [answer._replace(sequence=before + answer.sequence) for answer in answers]
            answered = before + batch.last

    return retry_on_oom(limits, attempt)


def _answer_batches(
    model: Any, tree: PrefixTree, writer: RowDecoder, limits: Limits, kept: "KeptPrefix | None"
) -> Iterator[tuple[Batch, list[FinishedRow]]]:
    from whether.engine.caches import chain_for

    shortest = min(map(len, tree.sequences), default=1)
    chain, start = chain_for(model, tree, limits.nodes, kept, shortest - 1)
    for batch in plan_batches(tree, writer.room, limits, writer.samples, start):
        began = time.perf_counter()
        indices = range(batch.first, batch.last)
        rows = [(index, row) for index in indices for row in writer.rows(tree.sequences[index])]
        _answer_batch(chain, tree, batch, [row for _, row in rows], writer)
        seconds = (time.perf_counter() - began) / len(rows)
        yield batch, [FinishedRow(index, row, seconds) for index, row in rows]


def plan_batches(
    tree: PrefixTree, max_new_tokens: int, limits: Limits, samples: int = 1, start: int = 0
) -> Iterator[Batch]:
    """Divide a tree's sequences into batches within the limits. A sequence has `samples` rows, all in one batch.

    Their first `start` tokens are in the chain already.
    """
    max_rows = max(1, min(limits.rows, limits.own_tokens // (limits.nodes + max_new_tokens)))
    width = min(samples, max_rows)
    max_sequences = max_rows // width
    first, last = 0, 0
    passes: list[Pass] = []
    stem: list[Pass] = []  # passes since the last one in which a sequence ended
    for step in tree.passes(limits.nodes, max_sequences, start=start):
        stem.append(step)
        ends = len(tree.ends(step))
        if not ends:
            continue
        longest = max(map(len, tree.sequences[first : last + ends]))
        tokens = (last + ends - first) * width * (longest - tree.common(first, last + ends) + max_new_tokens)
        if first < last and (last + ends - first > max_sequences or tokens > limits.own_tokens):
            yield Batch(first, last, tree.common(first, last), passes, width)
            first, passes = last, []
        last += ends
        passes += stem
        stem = []
    if first < last:
        yield Batch(first, last, tree.common(first, last), passes, width)


def _answer_batch(chain: Any, tree: PrefixTree, batch: Batch, rows: Sequence[DecodingRow], writer: RowDecoder) -> None:
    """Compute a batch's sequences, then decode the rows that follow them."""
    import torch

    from whether.engine.caches import DecodingBatch

    lengths = [len(tokens) for tokens in tree.sequences[batch.first : batch.last]]
    decoding = DecodingBatch(chain.model, _repeat(lengths, batch.width), batch.shared, writer.room)
    found: list[Tensor] = []
    filled = 0
    for step in batch.passes:
        paths = [path for _, path in tree.ends(step)]
        logits = chain.run(step, [path[-1] for path in paths])
        if paths:
            in_cache = [[*range(step.cached), *(step.cached + node for node in path)] for path in paths]
            decoding.fill(chain, filled, _repeat(in_cache, batch.width))
            found.append(logits)
            filled += len(paths) * batch.width
    logits = torch.cat(found).repeat_interleave(batch.width, 0)
    decode_rows(decoding, logits, rows[:filled], writer)
    for start in range(filled, len(rows), batch.width):
        # Only a sequence that is alone has rows left: it is all that the chain holds.
        more = rows[start : start + batch.width]
        decoding = DecodingBatch(chain.model, lengths * len(more), batch.shared, writer.room)
        decoding.fill(chain, 0, [range(batch.shared)] * len(more))
        decode_rows(decoding, logits[: len(more)], more, writer)


def _repeat(values: Sequence[Any], times: int) -> list[Any]:
    return [value for value in values for _ in range(times)]


def decode_rows(decoding: Any, logits: "Tensor", rows: Sequence[DecodingRow], writer: RowDecoder) -> None:
    """Write rows to their ends, from the logits [B, vocabulary] of their first tokens on."""
    import torch

    while True:
        writer.write(logits, rows)
        working = [place for place, row in enumerate(rows) if not row.is_done]
        if not working:
            return
        if len(working) <= DROP * len(rows):
            decoding.keep(torch.tensor(working, device=logits.device))
            rows = [rows[place] for place in working]
        # What follows a row that is done does not matter.
        tokens = [row.tokens[-1] if row.tokens else 0 for row in rows]
        logits = decoding.step(torch.tensor(tokens, device=logits.device))


def stop_finder(tokenizer: Any, stop: Sequence[str]) -> Callable[[list[int]], bool]:
    """Return a function that checks whether new tokens have just completed one of the stop strings.

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


def shared_lengths(tree: PrefixTree) -> list[int]:
    """Return how many first tokens of each sequence some other one has too."""
    after = [*tree.shared[1:], 0]
    return [max(pair) for pair in zip(tree.shared, after, strict=False)]


class DecodedText(NamedTuple):
    """What an answer says."""

    token_ids: list[int]
    text: str
    tokens: int
    """How many the model gave."""
    is_finished: bool


class BatchGenerator(NamedTuple):
    """How a model answers: what goes through it at once, by which path, and what comes before every prompt."""

    model: Any
    limits: Limits
    uses_tree: bool
    """Whether shared prefixes are computed once."""
    opening: Tokens = ()
    """Placeholders of virtual tokens, which are not counted as input."""
    kept: "KeptPrefix | None" = None
    """What is kept of the call before; None: nothing."""

    def answer(
        self,
        prompts: Sequence[Sequence[int]],
        writer: RowDecoder,
        written: Callable[[FinishedRow], DecodedText],
        progress: str | None,
    ) -> list[list[Generation]]:
        """Return the answers to each prompt, `writer.asked` of them; `written` reads what an answer says."""
        sequences = [(*self.opening, *prompt, *writer.opening) for prompt in prompts]
        asked = Counter(sequences)
        tree = PrefixTree(sequences)
        answers: dict[Tokens, list[FinishedRow]] = defaultdict(list)
        hidden = True if progress is None else None  # None: where there is no terminal
        total = len(sequences) * writer.samples
        with tqdm(total=total, desc=progress, unit="prompt", disable=hidden) as bar, inference_mode():
            for batch in self._batches(tree, writer):
                for answer in batch:
                    answers[tree.sequences[answer.sequence]].append(answer)
                    bar.update(asked[tree.sequences[answer.sequence]])
        copies = writer.asked // writer.samples
        shared = self._shared_lengths(tree, writer.samples)

        def generation(sequence: Tokens, answer: FinishedRow) -> Generation:
            length = len(sequence) - len(self.opening) - len(writer.opening)
            times = asked[sequence] * copies
            token_ids, text, output_tokens, is_finished = written(answer)
            return Generation(
                token_ids=token_ids,
                text=text,
                input_tokens=length,
                cached_tokens=length if times > 1 else min(length, shared[answer.sequence]),
                output_tokens=output_tokens,
                seconds=answer.seconds / times,
                finished=is_finished,
            )

        return [[generation(sequence, answer) for answer in answers[sequence] * copies] for sequence in sequences]

    def _batches(self, tree: PrefixTree, writer: RowDecoder) -> Iterator[list[FinishedRow]]:
        if self.uses_tree:
            return generate_on_tree(self.model, tree, writer, self.limits, self.kept)
        return generate_unshared(self.model, tree.sequences, writer, self.limits)

    def _shared_lengths(self, tree: PrefixTree, samples: int) -> list[int]:
        """Return how many of each sequence's tokens are computed for others too, virtual ones not counted."""
        if not self.uses_tree:
            return [0] * len(tree.sequences)
        lengths = shared_lengths(tree) if samples == 1 else [len(sequence) for sequence in tree.sequences]
        return [max(0, length - len(self.opening)) for length in lengths]


def inference_mode() -> Any:
    """Return a context in which nothing is recorded for gradients."""
    import torch

    return torch.inference_mode()
