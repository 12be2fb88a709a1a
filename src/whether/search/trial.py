"""One trial: the finetune stage's own training with other settings, ended early where it is hopeless.

Imports transformers: import it where it is used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from whether.config import CONF, ModelConfig, SearchConfig
from whether.errors import DivergedError, config_errors_in
from whether.finetune import finetune
from whether.finetune.finetune import TrainingData
from whether.finetune.results import TrainingHistory, from_log
from whether.records import Evaluation, SearchRecord, TrialRecord, sha256_folder, sha256_json
from whether.search.space import Settings, Space
from whether.search.suggest import should_prune


@dataclass(frozen=True)
class SearchSetup:
    """What all trials of a search share."""

    record: SearchRecord
    space: Space
    config: SearchConfig
    model: ModelConfig
    data: TrainingData
    model_folder: Path
    state: Path
    """Where unfinished trials wait."""

    def is_hopeless(self, values: Sequence[float], trials: Sequence[TrialRecord]) -> bool:
        """Return whether the trial after `trials` is to end, which has had these values so far."""
        return should_prune(values, trials, self.space, self.config)


def run_trial(question: SearchSetup, settings: Settings, trials: Sequence[TrialRecord]) -> TrialRecord:
    """Tune with `settings` and judge on dev; a trial that was killed resumes from its last checkpoint.

    `trials` are the earlier ones. The checkpoint holds only for the same settings and the same code.
    """
    number, started = len(trials), _now()
    code = sha256_folder(Path(finetune.__file__).parent, "*.py")
    key = sha256_json({"search": question.record.key, "settings": settings, "code": code})[:16]
    file = CONF / "checkpoint" / f"{question.record.checkpoint}.yaml"
    try:
        with config_errors_in(file):
            trained = finetune.train(
                question.space.tuner(settings),
                question.model,
                question.record.seed,
                question.data,
                model_folder=question.model_folder,
                state=question.state / f"trial-{number}-{key}",
                callbacks=[PruningCallback(question, trials)],
            )
    except DivergedError:
        return TrialRecord(number, "diverged", settings, None, [], started=started, ended=_now())
    values = objectives(trained.history, len(question.data.dev))
    best = max(zip(values, trained.history.evaluations, strict=True), key=lambda pair: pair[0])[1]
    # Decided again: had a kill come after the last checkpoint of a trial that was ended, nothing else would show it.
    ended = trained.stopped_early and question.is_hopeless(values, trials)
    return TrialRecord(
        number=number,
        state="pruned" if ended else "complete",
        settings=settings,
        value=max(values),
        values=values,
        dev_exact=best.dev_exact,
        dev_loss=best.dev_loss,
        steps=len(trained.history.steps),
        trainable_parameters=trained.trainable_parameters,
        trained_tokens=sum(step.tokens for step in trained.history.steps),
        seconds=sum(_seconds(trained.history)),
        started=started,
        ended=_now(),
    )


class PruningCallback(TrainerCallback):  # type: ignore[misc]
    """Ends a training run after an evaluation that leaves no hope; its last checkpoint then says that it is over."""

    def __init__(self, question: SearchSetup, trials: Sequence[TrialRecord]):
        self.question = question
        self.trials = trials

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Judge all evaluations so far, those of an earlier process included."""
        if state.global_step < state.max_steps:
            values = objectives(from_log(state.log_history), len(self.question.data.dev))
            control.should_training_stop |= self.question.is_hopeless(values, self.trials)


def _seconds(history: TrainingHistory) -> Iterator[float]:
    yield from (step.seconds for step in history.steps)
    yield from (evaluation.seconds for evaluation in history.evaluations)


def objectives(history: TrainingHistory, dev_examples: int) -> list[float]:
    """Return what a search maximises, after each evaluation."""
    return [objective(evaluation, dev_examples) for evaluation in history.evaluations]


def objective(evaluation: Evaluation, dev_examples: int) -> float:
    """Return the score that also chooses the best step: the share answered exactly, and among equal ones the loss.

    The loss takes off less than one example's share, so it can never outweigh an example.
    """
    loss = evaluation.dev_loss
    return evaluation.dev_exact - loss / (1 + loss) / dev_examples


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
