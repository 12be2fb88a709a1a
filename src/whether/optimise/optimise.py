"""A search for a better prompt on dev. The test split is never read.

Writes into artifacts/optimise/<checkpoint>/:

optimise.json      `whether.records.OptimiseRecord`: what was tried, the best, and the best that was written by hand
candidates.jsonl   a `whether.records.CandidateRecord` a line, best first
best.yaml          the best one as a prompt, to be put into conf/prompt/

It is a command and no stage: what it leaves is a prompt file like any other, whose arm `whether run` then measures.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from whether.config import Config
from whether.errors import ConfigError, RecordError, near_matches
from whether.model.precision import with_native_precision
from whether.model.tokens import encode
from whether.optimise.best import prompt_yaml
from whether.optimise.candidates import PromptCandidate, manual_prompts, sample_candidates
from whether.optimise.evaluator import Evaluator
from whether.optimise.halving import max_candidates, rungs, stratified_order
from whether.optimise.journal import ScoredExample, ScoreJournal
from whether.optimise.reflect import check_reflector, rewrite
from whether.prompt.build import build_prompt
from whether.records import (
    CHECKPOINT,
    STATE,
    CandidateRecord,
    Example,
    OptimiseRecord,
    Task,
    exclusive_lock,
    mean_known,
    read_json,
    read_jsonl,
    sha256_folder,
    sha256_json,
    to_builtins,
    write_json,
    write_jsonl,
    write_text,
)

logger = logging.getLogger(__name__)

Scores = dict[PromptCandidate, list[ScoredExample]]


class _SearchData(NamedTuple):
    """What prepare made."""

    task: Task
    pool: list[Example]
    """The training split, which prompts draw on."""
    dev: list[Example]
    """What candidates are measured on."""


def optimise(name: str, config: Config, *, artifacts: Path, restart: bool = False) -> Path:
    """Search for a prompt of checkpoint `name`; return the records' folder.

    A call that was killed resumes where it was; `restart` starts over. Raises ConfigError for a checkpoint that is not
    there, settings that leave no candidate and templates that are wrong, and RecordError for missing records.
    """
    from whether.engine.local import LocalModel

    settings = config.optimise
    # 1. The candidates. What cannot be built is reported before the model is loaded.
    if name not in config.checkpoints:
        raise ConfigError(f"no checkpoint {name!r} in params.yaml{near_matches(name, config.checkpoints)}")
    if config.checkpoints[name].served:
        raise ConfigError(f"{name} is a served model, whose every answer costs: search on a checkpoint of this machine")
    config = replace(config, model=with_native_precision(config.model))
    data = _read_data(artifacts / "prepare")
    task, pool, dev = data
    candidates, by_hand = _candidates(config, data), manual_prompts(config.prompts)
    check_reflector(settings.reflect)
    for candidate in [*candidates, *by_hand]:
        build_prompt(candidate.name if candidate.by_hand else "optimised", candidate.prompt, task, pool, config.seed)
    # 2. The scores that an earlier call with the same model and examples has left.
    checkpoint = artifacts / "finetune" / name / CHECKPOINT
    key = _search_key(config, data, artifacts / "model", checkpoint)
    state, folder = STATE / "optimise" / name, artifacts / "optimise" / name
    taken = f"another search for a prompt of {state.name} is running here: wait, or stop it"
    with exclusive_lock(state / "lock", lambda: RecordError(taken)):
        journal_file = state / f"{key[:16]}.jsonl"
        if restart:
            journal_file.unlink(missing_ok=True)
        journal = ScoreJournal(journal_file)
        # 3. Successive halving: all candidates on few examples, the better ones on more.
        local = LocalModel.load(artifacts / "model", checkpoint, config.model)
        judge = Evaluator(local, task, pool, config.seed, journal)
        planned = rungs(len(candidates), len(dev), first=settings.first, keep=settings.keep)
        ordered = stratified_order(dev, config.seed)
        until = None if settings.minutes is None else time.monotonic() + 60 * settings.minutes
        found = _successive_halving(
            judge, candidates, [rung.examples for rung in planned], ordered, keep=settings.keep, until=until
        )
        # 4. Rewritings of the best one's instruction, and for comparison the prompts that were written by hand.
        written, usd = list[PromptCandidate](), 0.0
        if settings.reflect:
            logger.info("%s rewrites the instruction", settings.reflect.reflector.model)
            written, usd = rewrite(
                _order(found)[0], settings.reflect, judge, task, pool=pool, dev=ordered, seed=config.seed,
                count=lambda chat: len(encode(local.tokenizer, chat)), until=until,
            )  # fmt: skip
            found |= {candidate: judge.scores(candidate, ordered) for candidate in written}
        found |= {candidate: judge.scores(candidate, ordered) for candidate in _log_manual(by_hand)}
        # 5. The records.
        records = _ranked(found)
        best = next(record for record in records if record.examples == len(dev) and not record.by_hand)
        hand = next((record for record in records if record.by_hand), None)
        record = OptimiseRecord(
            checkpoint=name, key=key, task=task.name, model=config.model.name, seed=config.seed,
            dev_examples=len(dev), candidates=len(candidates) + len(written), rungs=[rung.examples for rung in planned],
            evaluations=journal.evaluations, seconds=journal.seconds, best=best.name, best_score=best.score,
            by_hand=hand.name if hand else None, by_hand_score=hand.score if hand else None,
            difference=best.score - hand.score if hand else None, answers=_scores_on_dev(found, [best, hand], dev),
            reflector=settings.reflect.reflector.model if settings.reflect else None, rewritten=len(written),
            reflector_usd=usd,
        )  # fmt: skip
        write_jsonl(folder / "candidates.jsonl", records)
        write_json(folder / "optimise.json", record)
        write_text(folder / "best.yaml", prompt_yaml(record, best))
    return folder


def _read_data(prepared: Path) -> _SearchData:
    task = read_json(prepared / "task.json", Task)
    return _SearchData(task, *(read_jsonl(prepared / f"{split}.jsonl", Example) for split in ("train", "dev")))


def _candidates(config: Config, data: _SearchData) -> list[PromptCandidate]:
    """Return as many candidates as the evaluations suffice for. Raises ConfigError where there is none."""
    settings = config.optimise
    most = max_candidates(
        settings.candidates, len(data.dev), settings.evaluations, first=settings.first, keep=settings.keep
    )
    candidates = sample_candidates(settings, data.task, len(data.pool), config.seed, most)
    if not candidates:
        raise ConfigError(
            "optimise: no candidate is left: raise evaluations, or give it demonstrations and decodings that the task"
            " and the training split allow"
        )
    return candidates


def _search_key(config: Config, data: _SearchData, model: Path, checkpoint: Path) -> str:
    """Return a hash of all that decides what a prompt scores."""
    return sha256_json({
        "model": sha256_folder(model), "checkpoint": sha256_folder(checkpoint),
        "dtype": config.model.dtype, "task": to_builtins(data.task), "seed": config.seed,
        "examples": [to_builtins(example) for example in [*data.pool, *data.dev]],
    })  # fmt: skip


def _successive_halving(
    judge: Evaluator,
    candidates: Sequence[PromptCandidate],
    sizes: Sequence[int],
    ordered: Sequence[Example],
    *,
    keep: float,
    until: float | None,
) -> Scores:
    """Return what each candidate scored on as many examples as it came to."""
    found, left = Scores(), list(candidates)
    for number, size in enumerate(sizes):
        logger.info("round %d of %d: %d prompts on %d examples of dev", number + 1, len(sizes), len(left), size)
        for candidate in left:
            if found and until is not None and time.monotonic() > until:
                first = _order(found)[0]
                logger.info("time is up: %s goes to the end", first.name)
                return found | {first: judge.scores(first, ordered)}
            found[candidate] = judge.scores(candidate, ordered[:size])
        left = [candidate for candidate in _order(found) if candidate in left]
        best = left[0]
        logger.info("  best: %.1f%%, %s", 100 * fmean(row.score for row in found[best]), best.name)
        if size < sizes[-1]:
            left = left[: max(math.ceil(keep * len(left)), min(2, len(left)))]
    return found


def _log_manual(candidates: Sequence[PromptCandidate]) -> Iterator[PromptCandidate]:
    for candidate in candidates:
        logger.info("for comparison: %s", candidate.name)
        yield candidate


def _order(found: Scores) -> list[PromptCandidate]:
    """Return candidates by examples answered, score, fewer tokens, and name: the same order every time."""

    def key(one: PromptCandidate) -> tuple[float, float, float, str]:
        rows = found[one]
        tokens = mean_known([row.tokens for row in rows]) or math.inf
        return -len(rows), -fmean(row.score for row in rows), tokens, one.name

    return sorted(found, key=key)


def _ranked(found: Scores) -> list[CandidateRecord]:
    return [
        CandidateRecord(
            name=one.name, by_hand=one.by_hand, prompt=to_builtins(one.prompt), examples=len(found[one]),
            score=fmean(row.score for row in found[one]), tokens=mean_known([row.tokens for row in found[one]]),
        )
        for one in _order(found)
    ]  # fmt: skip


def _scores_on_dev(
    found: Scores, chosen: Sequence[CandidateRecord | None], dev: Sequence[Example]
) -> dict[str, list[float]]:
    """Return what those of the chosen candidates that answered all of dev scored, in its order."""
    names = [record.name for record in chosen if record]
    return {
        candidate.name: [row.score for row in _in_order_of(rows, dev)]
        for candidate, rows in found.items()
        if candidate.name in names and len(rows) == len(dev)
    }


def _in_order_of(rows: Sequence[ScoredExample], dev: Sequence[Example]) -> list[ScoredExample]:
    by_id = {row.example: row for row in rows}
    return [by_id[example.id] for example in dev]
