"""Which label a trained model gives to each dev example.

It is the one that greedy decoding writes where only the labels' answers can be written, as prompts of label tasks are
decoded. No token is generated for it: each row is read with a guess behind its prompt, the most frequent answer. Up to
the first token at which the model would rather write another label's, the guess is what decoding writes. Rows
that leave it there are read again with a label that begins as decoding does, until none leaves. The first reading costs
one evaluation on dev, as its rows are packed alike; later ones have only those rows of which the last reading left
several labels open.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from whether.finetune.data import TrainingRow
from whether.records.collapse import FrequentAnswer, frequent_answer

if TYPE_CHECKING:
    import torch

Tokens = tuple[int, ...]


class DevAnswers(NamedTuple):
    """The labels that the kept weights give to dev, and what it took to find them."""

    given: list[str]
    right: list[str]
    seconds: float
    energy: float | None
    """Joules; None where the machine does not report them."""

    @property
    def frequent(self) -> FrequentAnswer:
        """The label that is given most often."""
        return frequent_answer(self.given, self.right)

    @property
    def class_f1(self) -> float:
        """The mean of the F1 of the labels that are right for some example."""
        names = set(self.right)
        return sum(self._f1(name) for name in names) / len(names)

    def _f1(self, name: str) -> float:
        both = sum(given == right == name for given, right in zip(self.given, self.right, strict=True))
        return 2 * both / (self.given.count(name) + self.right.count(name))


def answers_of_labels(rows: Sequence[TrainingRow], labels: Sequence[str]) -> dict[str, Tokens] | None:
    """Return the answer of each label, from rows and the label of each; None where one label has several answers."""
    found: dict[str, Tokens] = {}
    for row, label in zip(rows, labels, strict=True):
        if found.setdefault(label, tuple(row.answer)) != tuple(row.answer):
            return None
    return found


def answer_dev(
    trainer: Any, checkpoint: Path, answers: Mapping[str, Tokens], guess: str, right: Sequence[str]
) -> DevAnswers:
    """Load a checkpoint of a trainer into its model, and return what it answers to the trainer's dev rows.

    `answers` has all labels; the nearer `guess` is to what is given most often, the less there is to compute. `right`
    has the label of each row. Raises EngineError where one row is too much for the memory.
    """
    from whether.model.metering import EnergyMeter

    meter, started = EnergyMeter(trainer.args.device), time.perf_counter()
    meter.start()
    trainer._load_from_checkpoint(str(checkpoint))
    trainer.model.eval()
    prompts = [row.prompt for row in trainer.eval_dataset]
    given = greedy_labels(prompts, answers, guess, lambda rows, tokens: answer_logits(trainer, rows, tokens))
    return DevAnswers(given, list(right), time.perf_counter() - started, meter.joules())


def answer_logits(trainer: Any, rows: Sequence[TrainingRow], tokens: Sequence[int]) -> "list[torch.Tensor]":
    """Return for each row the logits of some tokens at its answer's places: float32 [answer, tokens] on the CPU."""
    import torch
    from accelerate.utils import send_to_device

    from whether.finetune.packing import logits_at_answers

    def work(part: Sequence[TrainingRow]) -> "list[torch.Tensor]":
        with torch.no_grad():
            logits = logits_at_answers(trainer.model, send_to_device(trainer.collator(part), trainer.model.device))
        return list(torch.split(logits[:, list(tokens)].cpu(), [len(row.answer) for row in part]))

    return [of_row for part in trainer.evaluation_batches.run(rows, work, undo=lambda: None) for of_row in part]


def greedy_labels(
    prompts: Sequence[list[int]],
    answers: Mapping[str, Tokens],
    guess: str,
    logits: "Callable[[Sequence[TrainingRow], Sequence[int]], Sequence[torch.Tensor]]",
) -> list[str]:
    """Return the label that greedy decoding, constrained to the answers of labels, gives after each prompt.

    `logits` gives for rows and tokens what `answer_logits` does. Of equal logits the lowest token's counts.
    """
    tokens = sorted({token for answer in answers.values() for token in answer})
    following = following_tokens(answers)
    given, settled, unread = [guess] * len(prompts), [0] * len(prompts), list(range(len(prompts)))
    while unread:
        rows = [TrainingRow(prompts[index], list(answers[given[index]])) for index in unread]
        again = []
        for index, scores in zip(unread, logits(rows, tokens), strict=True):
            by_token = [dict(zip(tokens, place, strict=True)) for place in scores.tolist()]
            written = _written(answers[given[index]], settled[index], by_token, following)
            begun = [label for label, answer in answers.items() if answer[: len(written)] == written]
            if len(begun) > 1 and written != answers[given[index]]:
                again.append(index)
            given[index], settled[index] = begun[0], len(written)
        unread = again
    return given


def following_tokens(answers: Mapping[str, Tokens]) -> dict[Tokens, list[int]]:
    """Return the tokens that some answer has next after each beginning of an answer, in ascending order."""
    found: dict[Tokens, set[int]] = {}
    for answer in answers.values():
        for place, token in enumerate(answer):
            found.setdefault(answer[:place], set()).add(token)
    return {beginning: sorted(tokens) for beginning, tokens in found.items()}


def _written(
    guess: Tokens, settled: int, scores: Sequence[Mapping[int, float]], following: Mapping[Tokens, Sequence[int]]
) -> Tokens:
    """Return the guess, or its beginning and the token of another answer that decoding leaves it for.

    Its first `settled` tokens are known to be written, whatever their scores, which another batch can round otherwise.
    """
    for place in range(settled, len(guess)):
        best = max(following[guess[:place]], key=scores[place].__getitem__)
        if best != guess[place]:
            return (*guess[:place], best)
    return guess
