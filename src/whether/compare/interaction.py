"""Does combining tuning with prompt engineering add more than its parts?

For a tuned checkpoint T and an engineered prompt Q, on each test example: (T with Q - T plain) - (base with Q - base
plain). Above zero the two help each other; below zero each does, at least in part, what the other one does already.

An arm whose answers fail by their form says little about what the model knows, and whatever gives it the form looks as
if it taught the task. So a number is reported only where none of the four arms fails so (`MIN_READ_RATE`).
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from whether.compare.measure import plain_arm, run_scores
from whether.compare.results import Arm, Results
from whether.config import BASE
from whether.records import Interaction
from whether.stats.inference import holm, score_difference
from whether.stats.intervals import InferenceSettings

MIN_READ_RATE = 0.5
"""Share of outputs on test with an answer below which an arm fails by form: more of its outputs then give none than
could show what the model knows. Constrained arms have 1, or little less where documents are cut at the most new
tokens."""


class _Square(NamedTuple):
    checkpoint: str
    prompt: str
    arms: list[Arm]
    """Tuned engineered, tuned plain, base engineered, base plain."""

    @property
    def failing(self) -> list[Arm]:
        """Those of the arms that fail by form."""
        return [arm for arm in self.arms if _read_rate(arm) < MIN_READ_RATE]


def interactions(study: Results, settings: InferenceSettings) -> list[Interaction]:
    """Return every square of {base, tuned} x {plain, engineered} whose arms are there, p-values corrected (Holm).

    Squares with an arm that fails by form are left out.
    """
    found = []
    for square in _squares(study):
        if square.failing:
            continue
        both, fine_tuned, prompted, neither = (run_scores(arm) for arm in square.arms)
        # Halved, so that both sides stay in [0, 1]; exchanging the sides of an example turns its sign around.
        half = score_difference((both + neither) / 2, (fine_tuned + prompted) / 2, settings)
        found.append((square.checkpoint, square.prompt, half))
    adjusted = holm(np.array([half.p_value for _, _, half in found])).tolist()
    return [
        Interaction(
            checkpoint=checkpoint,
            prompt=prompt,
            difference=2 * half.difference,
            ci_low=2 * half.interval.low,
            ci_high=2 * half.interval.high,
            p_value=half.p_value,
            p_adjusted=p_adjusted,
            n=half.n,
            reason=_reason(checkpoint, prompt, half.difference, p_adjusted < 1 - settings.level),
        )
        for (checkpoint, prompt, half), p_adjusted in zip(found, adjusted, strict=True)
    ]


def unreported_interactions(study: Results) -> list[str]:
    """Return a sentence for each square that `interactions` leaves out, with the arms that fail by form."""
    return [
        f"What {square.prompt} adds to {square.checkpoint} is not compared with what it adds to {BASE}:"
        f" only {_listed(square.failing)} give an answer."
        for square in _squares(study)
        if square.failing
    ]


def _squares(study: Results) -> Iterator[_Square]:
    """Yield every square whose four arms are there, the plain prompt being the best one on dev (`plain_arm`)."""
    arms, plain = study.arms, plain_arm(study)
    if plain is None:
        return
    tuned = dict.fromkeys(arm.checkpoint for arm in arms.values() if arm.tuned)
    engineered = dict.fromkeys(arm.prompt for arm in arms.values() if arm.engineered)
    for checkpoint, prompt in product(tuned, engineered):
        pairs = product((checkpoint, BASE), (prompt, plain.prompt))
        names = [f"{one}-{asked}" for one, asked in pairs]
        if all(name in arms for name in names):
            yield _Square(checkpoint, prompt, [arms[name] for name in names])


def _read_rate(arm: Arm) -> float:
    """Return the share of outputs on test in which an answer was read, over all training runs; 0 where none is there.

    Rows that were not answered do not count.
    """
    answered = [row for answers in arm.runs for row in answers.test if not row.error]
    return float(np.mean([row.answer is not None for row in answered])) if answered else 0.0


def _listed(failing: Sequence[Arm]) -> str:
    return " and ".join(f"{100 * _read_rate(arm):.0f}% of the outputs of {arm.name}" for arm in failing)


def _reason(checkpoint: str, prompt: str, half: float, is_shown: bool) -> str:
    size, side = f"{abs(200 * half):.1f}", "more" if half >= 0 else "less"
    found = f"{prompt} adds {size} points {side} to {checkpoint} than to {BASE}"
    if not is_shown:
        return f"{found}: that can be chance."
    return f"{found}: {'together they add more than' if half > 0 else 'together they add less than'} their parts."
