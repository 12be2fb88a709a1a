"""A training that ends with one label for nearly everything is tried once more.

The second training draws every label equally often and has a third of the learning rate; all else is the same: the
tuner's other settings, the seed, the rows, and what training starts from. It has a state folder of its own, next to the
first one's, so a run that is killed resumes whichever it was in. Which of the two is kept follows from what they answer
to dev.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from whether.config import TunerConfig
from whether.finetune import processes
from whether.finetune.dev_answers import DevAnswers, answer_dev, answers_of_labels
from whether.finetune.results import TrainingResult
from whether.model.memory import release
from whether.records import CollapseRetry, TrainingAttempt, TrainingExample
from whether.records.collapse import COLLAPSED

logger = logging.getLogger(__name__)

Examine = Callable[[Any, TrainingResult], DevAnswers | None]
"""Returns what the kept weights of a trainer answer to dev; None where that is not known, or does not matter."""
Train = Callable[[TunerConfig, Path, Examine | None], TrainingResult]
"""Trains with a tuner in a state folder; what `Examine` finds becomes the result's `answers`."""


def train_with_retry(
    train: Train, tuner: TunerConfig, state: Path, examples: Sequence[TrainingExample], dev: Sequence[TrainingExample]
) -> TrainingResult:
    """Train, once more where the first training has collapsed, and return the better of the two with its `retry`.

    `examples` are what is trained on. Without two labels there is nothing to collapse, and one training.
    """
    train_labels, dev_labels = ([str(row.label) for row in split if row.label is not None] for split in (examples, dev))
    if not tuner.retry_collapsed or len(set(train_labels)) < 2 or not dev_labels:
        return train(tuner, state, None)
    first = train(tuner, state, partial(look_if_suspicious, train_labels, dev_labels))
    if first.answers is None or not first.answers.frequent.collapsed:
        return first
    other = retry_settings(tuner)
    logger.info(
        "training has collapsed: %s is the answer to %.0f%% of dev; it is tried once more with tuner.balanced=true and"
        " tuner.learning_rate=%.3g (tuner.retry_collapsed=false: not)",
        first.answers.frequent.answer, 100 * first.answers.frequent.share, other.learning_rate,
    )  # fmt: skip
    release()  # The first model's memory, before there is a second one.
    retry = train(other, state.with_name(f"{state.name}-retry"), partial(look, train_labels, dev_labels))
    return better(tuner, first, other, retry)


def retry_settings(tuner: TunerConfig) -> TunerConfig:
    """Return the settings of a second training."""
    return replace(tuner, balanced=True, learning_rate=tuner.learning_rate / 3)


def look(train: Sequence[str], dev: Sequence[str], trainer: Any, trained: TrainingResult) -> DevAnswers | None:
    """Return what the best checkpoint answers to dev, the same in every process.

    `train` and `dev` have the label of each row. None where a label has several answers, as which is written is not
    known then.
    """
    known = answers_of_labels([*trainer.train_dataset, *trainer.eval_dataset], [*train, *dev])
    if known is None:
        return None
    guess = Counter(dev).most_common(1)[0][0]
    return processes.from_main(lambda: answer_dev(trainer, trained.best, known, guess, dev))


def look_if_suspicious(
    train: Sequence[str], dev: Sequence[str], trainer: Any, trained: TrainingResult
) -> DevAnswers | None:
    """Return the same, or None, at no cost, where more of dev is answered exactly than one label could be right for.

    With one label for nearly everything, at most the examples that have it are right, and those few that are given
    another one.
    """
    exact = trained.best_evaluation.dev_exact * len(dev)
    possible = Counter(dev).most_common(1)[0][1] + (1 - COLLAPSED) * len(dev)
    return look(train, dev, trainer, trained) if round(exact) <= possible else None


def better(tuner: TunerConfig, first: TrainingResult, other: TunerConfig, retry: TrainingResult) -> TrainingResult:
    """Return the training with the higher F1 of labels on dev; of equal ones the retry if it alone has not collapsed.

    That a retry has not collapsed is not enough: where nothing can be learnt from the texts, balanced training gives
    labels at random, and is right less often than the most frequent label for everything.
    """
    tried = {"first": attempt(tuner, first), "retry": attempt(other, retry)}
    first_rank, retry_rank = ((one.class_f1, not one.collapsed) for one in tried.values())
    won = retry_rank > first_rank
    kept, discarded = (retry, first) if won else (first, retry)
    record = CollapseRetry(tried["first"], tried["retry"], "retry" if won else "first")
    advice = "; it gives one label to nearly everything: label more examples with other answers"
    logger.info(
        "the %s training is kept: F1 of labels on dev %.3f, then %.3f%s",
        "second" if won else "first", record.first.class_f1, record.retry.class_f1,
        advice if tried[record.kept].collapsed else "",
    )  # fmt: skip
    return kept._replace(retry=record, discarded=discarded)


def attempt(tuner: TunerConfig, trained: TrainingResult) -> TrainingAttempt:
    """Return the record of one training whose answers are known."""
    assert trained.answers is not None, "both trainings have the same rows, and the first one's answers are known"
    answer, share, collapsed = trained.answers.frequent
    return TrainingAttempt(
        learning_rate=tuner.learning_rate,
        balanced=tuner.balanced,
        steps=len(trained.history.steps),
        best_step=trained.best_step,
        answer=str(answer),
        share=share,
        class_f1=trained.answers.class_f1,
        collapsed=collapsed,
    )
