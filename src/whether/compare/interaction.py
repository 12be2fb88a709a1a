"""Does combining tuning with prompt engineering add more than its parts?

For a tuned checkpoint T and an engineered prompt Q, on each test example: (T with Q - T plain) - (base with Q - base
plain). Above zero the two help each other; below zero each does, at least in part, what the other one does already.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np

from whether.compare.measure import plain_arm, run_scores
from whether.compare.results import Arm, Results
from whether.config import BASE
from whether.records import Interaction
from whether.stats.inference import holm, score_difference
from whether.stats.intervals import InferenceSettings


def interactions(study: Results, settings: InferenceSettings) -> list[Interaction]:
    """Return every square of {base, tuned} x {plain, engineered} whose arms are there, p-values corrected (Holm)."""
    arms = study.arms
    plain = plain_arm(study)
    if plain is None:
        return []
    tuned = dict.fromkeys(arm.checkpoint for arm in arms.values() if arm.tuned)
    engineered = dict.fromkeys(arm.prompt for arm in arms.values() if arm.engineered)
    found = []
    for checkpoint, prompt in product(tuned, engineered):
        square = _square(arms, checkpoint, prompt, plain.prompt)
        if square is None:
            continue
        both, fine_tuned, prompted, neither = (run_scores(arm) for arm in square)
        # Halved, so that both sides stay in [0, 1]; exchanging the sides of an example turns its sign around.
        half = score_difference((both + neither) / 2, (fine_tuned + prompted) / 2, settings)
        found.append((checkpoint, prompt, half))
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


def _square(arms: Mapping[str, Arm], checkpoint: str, prompt: str, plain: str) -> list[Arm] | None:
    names = [f"{checkpoint}-{prompt}", f"{checkpoint}-{plain}", f"{BASE}-{prompt}", f"{BASE}-{plain}"]
    return [arms[name] for name in names] if all(name in arms for name in names) else None


def _reason(checkpoint: str, prompt: str, half: float, is_shown: bool) -> str:
    size, side = f"{abs(200 * half):.1f}", "more" if half >= 0 else "less"
    found = f"{prompt} adds {size} points {side} to {checkpoint} than to {BASE}"
    if not is_shown:
        return f"{found}: that can be chance."
    return f"{found}: {'together they add more than' if half > 0 else 'together they add less than'} their parts."
