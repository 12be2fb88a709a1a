"""How much an arm's answers depend on the prompt's format, on sampling, and on the other requests of a batch.

Measured on a fixed part of dev, the same for every arm, after the arm has answered: on test nothing is tried out.
"""

import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from whether.config import RobustnessConfig
from whether.engine.requests import ChatModel
from whether.errors import ConfigError, EngineError, near_matches
from whether.outputs.kinds import output_of
from whether.outputs.output import score_answer
from whether.prompt.answering import DecodingStrategy
from whether.prompt.formats import NAMES, PromptFormat, changes_prompt, prompt_formats
from whether.prompt.selection import balanced
from whether.prompt.strategies import Strategy
from whether.prompt.together import RequestGroup, generate_batched
from whether.records import Example, FormatScore, Robustness, Sampling, Task

logger = logging.getLogger(__name__)

Build = Callable[[Task, Sequence[Example]], tuple[Strategy, DecodingStrategy]]
"""From a task and its pool to the arm's prompt."""


class Baseline(NamedTuple):
    """The arm in its own format."""

    strategy: Strategy
    decoding: DecodingStrategy
    answers: dict[str, str | None]
    """Example id → what the arm answered in a batch with all other requests."""


def measure_robustness(
    config: RobustnessConfig, task: Task, pool: Sequence[Example], dev: Sequence[Example], seed: int,
    *, model: ChatModel, own: Baseline, build: Build, name: str,
) -> Robustness:  # fmt: skip
    """Return what other formats and the samples of an arm show. The prompt's demonstrations come from `pool`.

    Raises ConfigError for a format that does not exist.
    """
    for unknown in [one for one in config.formats or () if one not in NAMES]:
        raise ConfigError(f"robustness.formats: no such format as {unknown!r}{near_matches(unknown, NAMES)}")
    subset = balanced(task, dev, min(config.examples, len(dev)), random.Random(seed))
    chosen = [one for one in prompt_formats(task, seed) if config.formats is None or one.name in config.formats]
    questions = [(one, _format_requests(one, pool, subset, own, build)) for one in chosen]
    skipped = {one.name: "changes nothing in what the arm asks" for one, question in questions if question is None}
    asked = [(one, question) for one, question in questions if question]
    # Separately and first: a server that is gone ends the arm here, and is not asked again for each format.
    again = [reply.answer for reply in own.decoding.ask(model, own.strategy, subset)]
    others = generate_batched(model, [question for _, question in asked], progress=f"{name}: formats")
    expected = [own.answers[example.id] for example in subset]
    found: dict[str, FormatScore] = {}
    for (form, _), replies in zip(asked, others, strict=True):
        if isinstance(replies, EngineError):  # too long, for example: the arm itself has answered, and is kept
            logger.warning("%s in the format %s: %s", name, form.name, replies)
            skipped[form.name] = str(replies)
        else:
            found[form.name] = _format_score(task, subset, again, [form.original(one.answer) for one in replies])
    score = _score(task, subset, again)
    scores = [score, *(one.score for one in found.values())]
    return Robustness(
        examples=len(subset),
        score=score,
        batch_invariance=fmean(a == b for a, b in zip(again, expected, strict=True)),
        formats=found,
        skipped=skipped,
        sensitivity_spread=max(scores) - min(scores) if found else None,
        sensitivity_worst=min(scores) if found else None,
        sensitivity_deviation=pstdev(scores) if found else None,
        **_consistency(config, task, subset, seed, model=model, own=own),
    )


def _format_requests(
    form: PromptFormat, pool: Sequence[Example], subset: Sequence[Example], own: Baseline, build: Build
) -> RequestGroup | None:
    """Return what an arm is asked in another format; None if that changes nothing."""
    strategy, decoding = build(form.task, [form.example(example) for example in pool])
    varied = form.strategy(strategy)
    if not changes_prompt(form, own.strategy, varied, subset[:3]):
        return None
    return RequestGroup(decoding, varied, [form.example(example) for example in subset])


def _format_score(
    task: Task, subset: Sequence[Example], before: Sequence[str | None], answers: Sequence[str | None]
) -> FormatScore:
    changed = fmean(one != other for one, other in zip(answers, before, strict=True))
    return FormatScore(score=_score(task, subset, answers), changed=changed)


def _score(task: Task, subset: Sequence[Example], answers: Sequence[str | None]) -> float:
    return fmean(
        score_answer(output_of(task), answer, example.target).score
        for answer, example in zip(answers, subset, strict=True)
    )


def _consistency(
    config: RobustnessConfig, task: Task, subset: Sequence[Example], seed: int, *, model: ChatModel, own: Baseline
) -> dict[str, Any]:
    """Return agreement, majority and entropy of sampled answers; nothing for an arm that writes no answers."""
    if config.samples is None or own.decoding.writing is None:
        return {}
    sampling = Sampling(temperature=config.temperature, seed=seed, samples=config.samples)
    decoding = replace(own.decoding.writing.decoding, sampling=sampling)
    drawn = model.generate([own.strategy(example) for example in subset], decoding)
    counts = [Counter(own.decoding.read(one.text) for one in answers) for answers in drawn]
    pairs = config.samples * (config.samples - 1)
    majority = [max(count, key=lambda answer: count[answer]) for count in counts]
    return {
        "samples": config.samples,
        "temperature": config.temperature,
        "consistency": fmean(sum(times * (times - 1) for times in count.values()) / pairs for count in counts),
        "majority_score": fmean(
            score_answer(output_of(task), answer, example.target).score
            for answer, example in zip(majority, subset, strict=True)
        ),
        "answer_entropy": fmean(
            -sum(times / config.samples * math.log2(times / config.samples) for times in count.values())
            for count in counts
        ),
    }
