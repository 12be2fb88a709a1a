"""How much an arm's answers depend on the prompt's format, on sampling, and on the other requests of a batch.

Measured on a fixed part of dev, the same for every arm, after the arm has answered: on test nothing is tried out.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from whether.outputs.decoding import DecodingStrategy, parse_generations
from whether.outputs.kinds import output_of
from whether.outputs.output import score_answer
from whether.records import (
    OWN,
    SAMPLED,
    Example,
    FormatPlan,
    FormatScore,
    Generations,
    Prediction,
    Robustness,
    Task,
)


def measure_robustness(
    plan: FormatPlan, answers: Sequence[Generations], task: Task, *, dev: Mapping[str, Example],
    predictions: Mapping[str, Prediction], decoding_of: Callable[[Task], DecodingStrategy],
) -> Robustness:  # fmt: skip
    """Return what other formats and the samples of an arm show.

    `answers` are those to formats.jsonl, `dev` the examples by id, `predictions` what the arm answered in a batch with
    all other requests, and `decoding_of` gives how a task's answers are read.
    """
    subset = [dev[key] for key in plan.examples]
    by_variant: dict[str, list[Generations]] = {}
    for answer in answers:
        by_variant.setdefault(answer.variant, []).append(answer)
    strategy = decoding_of(task)
    again = [reply.answer for _, reply in parse_generations(task, strategy, by_variant[OWN])]
    expected = [predictions[example.id].answer for example in subset]
    found, skipped = dict[str, FormatScore](), dict(plan.skipped)
    for form in plan.formats:
        generations = by_variant[form.name]
        # Too long, for example. A row that the arm does not answer in its own format either is as it is there.
        own = {one.id for one in by_variant[OWN] if one.error}
        error = next((one.error for one in generations if one.error and one.id not in own), None)
        if error:
            skipped[form.name] = error
            continue
        # A classifier's labels are those of the task, in every format.
        read_by = task if generations[0].classifier else form.task
        replies = parse_generations(read_by, decoding_of(read_by), generations)
        found[form.name] = _format_score(task, subset, again, [form.original(reply.answer) for _, reply in replies])
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
        **_consistency(plan, task, subset, by_variant.get(SAMPLED, []), strategy),
    )


def _format_score(
    task: Task, subset: Sequence[Example], before: Sequence[str | None], answers: Sequence[str | None]
) -> FormatScore:
    changed = fmean(one != other for one, other in zip(answers, before, strict=True))
    return FormatScore(score=_score(task, subset, answers), changed=changed)


def _score(task: Task, subset: Sequence[Example], answers: Sequence[str | None]) -> float:
    return fmean(
        score_answer(output_of(task), answer, example.target) for answer, example in zip(answers, subset, strict=True)
    )


def _consistency(
    plan: FormatPlan, task: Task, subset: Sequence[Example], drawn: Sequence[Generations], strategy: DecodingStrategy
) -> dict[str, Any]:
    """Return agreement, majority and entropy of sampled answers; nothing for an arm that writes no answers."""
    if plan.samples is None or not drawn:
        return {}
    read_text = output_of(task).read if drawn[0].classifier else strategy.read_text
    counts = [Counter(read_text(one.text).answer for one in answers.samples) for answers in drawn]
    majority = [max(count, key=lambda answer: count[answer]) if count else None for count in counts]
    counts = [count for count in counts if count.total() > 1]  # without the rows that could not be answered
    if not counts:
        return {}
    return {
        "samples": plan.samples,
        "temperature": plan.temperature,
        "consistency": fmean(
            sum(times * (times - 1) for times in count.values()) / (count.total() * (count.total() - 1))
            for count in counts
        ),
        "majority_score": _score(task, subset, majority),
        "answer_entropy": fmean(
            -sum(times / count.total() * math.log2(times / count.total()) for times in count.values())
            for count in counts
        ),
    }
