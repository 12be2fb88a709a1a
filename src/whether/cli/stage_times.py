"""How long a run's stages are expected to take: from earlier runs, else from what this machine computes in a moment."""

import time
from collections.abc import Mapping

DEFAULT_SECONDS = {
    "model": 25, "prepare": 5, "training_set": 1, "finetune": 52, "finetune@base": 1, "prompt": 3, "backend": 1,
    "race": 1, "generate": 33, "generate@zero_shot": 10, "generate@few_shot": 14, "generate@knn": 75,
    "baseline_data": 1, "baseline": 7, "baseline@encoder": 18, "baseline@linear": 3, "score": 2, "quick": 5,
    "robustness": 24, "robustness@zero_shot": 8, "robustness@few_shot": 15, "robustness@knn": 47, "benchmark": 29,
    "curve_data": 3, "curve_tune": 28, "curve_generate": 27, "curve_baseline": 6, "compare": 5, "report": 3,
    "publish": 11,
}  # fmt: skip
"""Seconds that a stage of a kind, and where that matters of an item, took in the default run on a machine that
multiplies at `REFERENCE_SPEED` (`python benchmarks/first_run.py`, .state/stage_seconds.json of its folder)."""
REFERENCE_SPEED = 260e9
"""Operations a second, in products of float32 matrices, of the machine that `DEFAULT_SECONDS` were measured on."""
OF_THE_PROCESSOR = (
    "finetune", "generate", "baseline", "robustness", "benchmark", "curve_tune", "curve_generate", "curve_baseline",
)  # fmt: skip
"""Stages that compute nearly all the time, so that the machine's speed is theirs."""
_SLOWEST, _FASTEST = 1 / 20, 1.0
"""Between which a machine's speed is believed: a processor that was idle is up to twice as fast for a moment."""


class StageTimes:
    """How long stages are expected to take: what they took here last, else what their kind does, times this machine."""

    def __init__(self, known: Mapping[str, float], speed: float = 1.0):
        """`known`: stage → seconds that it last took here; `speed`: this machine's, as a multiple of the reference."""
        self.known = dict(known)
        self._speed = speed
        self._usual: list[tuple[float, float]] = []
        """Usual and measured seconds of stages of this run that compute and were not known."""

    def expected(self, stage: str) -> float:
        """Return seconds."""
        if stage in self.known:
            return self.known[stage]
        same = [seconds for name, seconds in self.known.items() if _alike(name) == _alike(stage)]
        if same:
            return sum(same) / len(same)
        return _default(stage) * (self._factor() if kind_of(stage) in OF_THE_PROCESSOR else 1.0)

    def took(self, stage: str, seconds: float) -> None:
        """Keep what a stage took."""
        if kind_of(stage) in OF_THE_PROCESSOR and _alike(stage) not in map(_alike, self.known):
            self._usual.append((_default(stage), seconds))
        self.known[stage] = seconds

    def _factor(self) -> float:
        """Return how many times as long as usual a stage takes that computes."""
        usual, measured = (sum(column) for column in zip(*self._usual, strict=True)) if self._usual else (0.0, 0.0)
        # What was seen counts by its share; before anything was, the speed of products stands for it.
        prior = 30.0
        return (measured + prior / self._speed) / (usual + prior)


def kind_of(stage: str) -> str:
    """Return a stage's name without its item."""
    return stage.partition("@")[0]


def measured_speed() -> float:
    """Return this machine's speed as a multiple of `REFERENCE_SPEED`, from products that take a twentieth of a second.

    The best of several counts, as the first one pays for threads that start. A machine at other work is slower.
    """
    import numpy as np

    side = 1024
    matrix = np.ones((side, side), dtype=np.float32)
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - begun)
    return min(max(2 * side**3 / best / REFERENCE_SPEED, _SLOWEST), _FASTEST)


def _alike(stage: str) -> str:
    """Return what stages have in common that take about the same time: their kind and prompt; base is not trained."""
    if stage == "finetune@base":
        return stage
    kind, _, item = stage.partition("@")
    own = f"{kind}@{item.rpartition('-')[2]}"
    return own if own in DEFAULT_SECONDS else kind


def _default(stage: str) -> float:
    return float(DEFAULT_SECONDS.get(_alike(stage), 5))
