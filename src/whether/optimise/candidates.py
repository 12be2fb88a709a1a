"""The prompts that a search tries."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product, zip_longest
from typing import Any

from whether.config import OptimiseConfig, PromptConfig
from whether.records import Task

STRATEGIES = "whether.prompt.strategies"
FOR_LABELS = ("whether.outputs.decoding.label_scores",)


@dataclass(frozen=True, eq=False)
class PromptCandidate:
    """A prompt to try."""

    name: str
    prompt: PromptConfig
    by_hand: bool = False


def sample_candidates(config: OptimiseConfig, task: Task, pool: int, seed: int, most: int) -> list[PromptCandidate]:
    """Return at most `most` combinations of instruction, demonstrations and decoding, drawn by the seed.

    Each kind of demonstrations (none, fixed, nearest) has the same number, as far as it goes. Combinations that need
    more examples than the pool has are left out, and the decodings for labels where there are none.
    """
    decodings = {
        name: component
        for name, component in config.decodings.items()
        if task.labels or component["_target_"] not in FOR_LABELS
    }
    kinds: dict[str, list[PromptCandidate]] = {}
    for parts in product(config.instructions.items(), _demonstrations(config, pool).items(), decodings.items()):
        candidate = _candidate(*parts)
        kinds.setdefault(candidate.prompt.strategy["_target_"], []).append(candidate)
    generator = random.Random(seed)
    shuffled = [generator.sample(kind, len(kind)) for kind in kinds.values()]
    return [one for turn in zip_longest(*shuffled) for one in turn if one is not None][:most]


def manual_prompts(prompts: Mapping[str, PromptConfig]) -> list[PromptCandidate]:
    """Return the run's own prompts that are engineered."""
    return [PromptCandidate(name, prompt, by_hand=True) for name, prompt in prompts.items() if prompt.engineered]


def _demonstrations(config: OptimiseConfig, pool: int) -> dict[str, tuple[dict[str, Any], int | None]]:
    """Return strategies without an instruction by name, with the labels that each needs."""
    found: dict[str, tuple[dict[str, Any], int | None]] = {}
    for count in config.examples:
        if count == 0:
            found["no examples"] = ({"_target_": f"{STRATEGIES}.zero_shot"}, 0)
        elif count <= pool:
            for choose, draw in product(config.choose, range(config.draws)):
                strategy = {"_target_": f"{STRATEGIES}.few_shot", "examples": count, "choose": choose, "draw": draw}
                found[f"{count} {choose} examples, draw {draw}"] = (strategy, count)
    for count in config.nearest:
        if count < pool:
            found[f"{count} nearest examples"] = ({"_target_": f"{STRATEGIES}.knn", "examples": count}, None)
    return found


def _candidate(
    instruction: tuple[str, str],
    demonstrations: tuple[str, tuple[dict[str, Any], int | None]],
    decoding: tuple[str, dict[str, Any]],
) -> PromptCandidate:
    strategy, labels_needed = demonstrations[1]
    if instruction[1]:
        strategy = strategy | {"instruction": instruction[1]}
    prompt = PromptConfig(strategy=strategy, decoding=decoding[1], labels_needed=labels_needed)
    return PromptCandidate(f"{instruction[0]}, {demonstrations[0]}, {decoding[0]}", prompt)
