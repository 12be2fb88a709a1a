"""A search for a better prompt: artifacts/optimise/<checkpoint>/{optimise.json,candidates.jsonl}."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CandidateRecord:
    """One prompt that was tried on dev: a line of candidates.jsonl, best first."""

    name: str
    """What it is made of, or the name of the prompt in conf/prompt."""
    by_hand: bool
    """Whether it was written by hand: one that the others are compared with, and that takes no part in the halving."""
    prompt: dict[str, Any]
    """As a file of conf/prompt has it."""
    examples: int
    """Examples of dev that it answered; all of them, for those that came to the end."""
    score: float
    """Mean score on these."""
    tokens: float | None
    """Mean tokens of prompt and answer; None where they are not known."""


@dataclass(frozen=True)
class OptimiseRecord:
    """What a search found: optimise.json."""

    checkpoint: str
    key: str
    """SHA-256 of all that decides the answers but the code: candidates, weights, examples, task and seed."""
    task: str
    model: str
    seed: int
    dev_examples: int
    candidates: int
    """Prompts that were tried, those written by hand left out."""
    rungs: list[int]
    """Examples of dev at each round."""
    evaluations: int
    """Requests that were answered in all, those of earlier calls included."""
    seconds: float
    """Wall time of answering them."""
    best: str
    """The candidate with the highest score on all of dev among those that came to the end."""
    best_score: float
    by_hand: str | None
    """The best prompt written by hand; None if there is none."""
    by_hand_score: float | None
    difference: float | None
    """`best_score` minus `by_hand_score`, on the same examples; the best of many on dev, so a little lucky."""
    answers: dict[str, list[float]] = field(default_factory=dict)
    """`best` and `by_hand` → score of each dev example, in the order of dev.jsonl."""
    reflector: str | None = None
    """The served model that rewrote the best candidate's instruction; None: nothing was rewritten."""
    rewritten: int = 0
    """Its texts that did better on training examples, and so were tried on all of dev."""
    reflector_usd: float = 0.0
    """What its answers cost."""
