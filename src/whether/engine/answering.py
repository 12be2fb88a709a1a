"""Answers to all prompts of a call: those that are equal are made once, and each says what was shared."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from whether.engine.generation import Answer, answer_on_tree, shared_lengths
from whether.engine.prefix_tree import PrefixTree, Tokens
from whether.engine.rows import Writer
from whether.engine.unshared import answer_plainly
from whether.model.memory import Limits
from whether.records import Generation


class Written(NamedTuple):
    """What an answer says."""

    token_ids: list[int]
    text: str
    tokens: int
    """How many the model gave."""
    is_finished: bool


class Answerer(NamedTuple):
    """How a model answers: what goes through it at once, by which path, and what stands before every prompt."""

    model: Any
    limits: Limits
    uses_tree: bool
    """Whether shared prefixes are computed once."""
    opening: Tokens = ()
    """Placeholders of virtual tokens, which are not counted as input."""

    def answer(
        self,
        prompts: Sequence[Sequence[int]],
        writer: Writer,
        written: Callable[[Answer], Written],
        progress: str | None,
    ) -> list[list[Generation]]:
        """Return the answers to each prompt, `writer.asked` of them; `written` reads what an answer says."""
        sequences = [(*self.opening, *prompt, *writer.opening) for prompt in prompts]
        asked = Counter(sequences)
        tree = PrefixTree(sequences)
        answers: dict[Tokens, list[Answer]] = defaultdict(list)
        hidden = True if progress is None else None  # None: where there is no terminal
        total = len(sequences) * writer.samples
        with tqdm(total=total, desc=progress, unit="prompt", disable=hidden) as bar, inference_mode():
            for batch in self._batches(tree, writer):
                for answer in batch:
                    answers[tree.sequences[answer.sequence]].append(answer)
                    bar.update(asked[tree.sequences[answer.sequence]])
        copies = writer.asked // writer.samples
        shared = self._shared_lengths(tree, writer.samples)

        def generation(sequence: Tokens, answer: Answer) -> Generation:
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

    def _batches(self, tree: PrefixTree, writer: Writer) -> Iterator[list[Answer]]:
        if self.uses_tree:
            return answer_on_tree(self.model, tree, writer, self.limits)
        return answer_plainly(self.model, tree.sequences, writer, self.limits)

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
