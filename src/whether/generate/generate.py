"""The stages `generate` and `robustness`: a checkpoint answers the requests of a prompt. They read and write text.

`generate` writes into artifacts/generate/<arm>/:

generations.jsonl   a `whether.records.Generations` a line, in the order of requests.jsonl
latency.json        `whether.records.Latency`: the first requests of dev again, one at a time
precision.json      `whether.records.Precision`: that of the weights that answered
prompt.txt          the first rendered prompt of dev, to read
server.json         `whether.records.ServerRecord`: of a served model, how it was asked and who answered

`robustness` writes into artifacts/robustness/<arm>/ the generations.jsonl of formats.jsonl, and precision.json; an
empty generations.jsonl alone where nothing is asked.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from whether.config import ServingConfig
from whether.errors import EngineError
from whether.generate.latency import single_request_latency
from whether.generate.load import LoadedCheckpoint
from whether.generate.protocol import answer_call, calls_of
from whether.records import (
    GREEDY,
    OWN,
    SAMPLED,
    CurveArm,
    Decoding,
    Generation,
    Generations,
    Latency,
    Request,
    RequestSplit,
    allowed_failures,
    read_json,
    read_jsonl,
    to_builtins,
    write_json,
    write_jsonl,
    write_precision,
    write_text,
)

logger = logging.getLogger(__name__)


def generate(
    arm: str, requests: Path, *, load: Callable[[], LoadedCheckpoint], serving: ServingConfig, folder: Path,
    max_failed: float, splits: Collection[RequestSplit] | None = None,
) -> None:  # fmt: skip
    """Answer the requests of a file, time some of them alone, and write the records named above into `folder`.

    Of `splits` only, where they are given. A request that cannot be answered, such as one whose prompt does not fit the
    model's context, has the reason in its place, up to the share `max_failed` of all. Of a served model nothing is sent
    where all of it could cost more than its limit. Raises EngineError for more failures, and for what the model cannot
    do.
    """
    from whether.model.memory import peak_memory

    loaded, asked = load(), _of_splits(read_jsonl(requests, Request), splits)
    answers = answer_requests(loaded, asked, arm, max_failed)
    latency = Latency()
    if loaded.served is None:
        failed = {(one.id, one.split) for one in answers if one.error}
        dev = [_for_model(loaded, one) for one in asked if one.split == "dev" and (one.id, one.split) not in failed]
        latency = Latency(single_request_latency(loaded.model, dev, serving), peak_memory())
    write_jsonl(folder / "generations.jsonl", [one.as_line() for one in answers])
    write_json(folder / "latency.json", latency)
    write_precision(folder, loaded.dtype)
    if loaded.served:
        write_json(folder / "server.json", loaded.served.served.record)
    write_text(folder / "prompt.txt", next(one.prompt for one in answers if one.split == "dev"))


def answer_splits(
    loaded: LoadedCheckpoint, requests: Path, arm: str, splits: Collection[RequestSplit], max_failed: float
) -> list[Generations]:
    """Answer those requests of a file that belong to some splits, where all of the file keeps a served model's limit.

    Raises BudgetExceededError, before anything is sent, where it does not, and EngineError as `generate` does.
    """
    asked = read_jsonl(requests, Request)
    _check_budget(loaded, asked, f"arm {arm}")
    return answer_requests(loaded, _of_splits(asked, splits), arm, max_failed)


def _of_splits(requests: list[Request], splits: Collection[RequestSplit] | None) -> list[Request]:
    return requests if splits is None else [one for one in requests if one.split in splits]


def generate_point(
    requests: Path, *, load: Callable[[bool], LoadedCheckpoint], folder: Path, max_failed: float
) -> None:
    """Answer the requests of a point of the learning curve: `<arm>.jsonl` of each arm, `Generations` a line, and
    precision.json.

    `requests` is artifacts/curve/data/<labels>-<seed>/requests, and `load` gives the point's tuned checkpoint, or base.
    """
    arms = read_json(requests / "arms.json", list[CurveArm])
    write_json(folder / "arms.json", [to_builtins(arm) for arm in arms])
    for tuned, group in groupby(arms, key=lambda arm: arm.tuned):
        loaded = load(tuned)
        write_precision(folder, loaded.dtype)
        for arm in group:
            asked = read_jsonl(requests / f"{arm.name}.jsonl", Request)
            answers = answer_requests(loaded, asked, arm.name, max_failed)
            write_jsonl(folder / f"{arm.name}.jsonl", [one.as_line() for one in answers])
        del loaded  # before the next one is loaded: both would take memory, and vLLM runs one in a process


def answer_requests(
    loaded: LoadedCheckpoint, requests: Sequence[Request], arm: str, max_failed: float
) -> list[Generations]:
    """Answer requests call by call, in order. Raises EngineError where more than the share `max_failed` fail; before
    any is answered, where so many prompts are too long."""
    long = _too_long(loaded, requests)
    _check_failures(_records(loaded, [requests[n] for n in long], [*long.values()]), len(requests), arm, max_failed)
    _check_budget(loaded, requests, f"arm {arm}")
    if loaded.served:  # no more is paid where the arm fails
        loaded.served.served.most_failed = allowed_failures(len(requests), max_failed)
    answers: list[Generations] = []
    for number, call in enumerate(calls_of(requests)):
        title = arm if number == 0 else f"{arm}, {call[-1].split} rows"
        answers += _answer(loaded, call, progress=title)
    failed = [one for one in answers if one.error]
    _check_failures(failed, len(answers), arm, max_failed)
    if failed:
        said = "arm %s: %d of %d requests were not answered and count as wrong; the first is example %r: %s"
        logger.warning(said, arm, len(failed), len(answers), failed[0].id, failed[0].error)
    return answers


def _too_long(loaded: LoadedCheckpoint, requests: Sequence[Request]) -> dict[int, list[Generation]]:
    """Return, by number, what stands in the place of answers to requests whose prompt is too long."""
    reasons = [loaded.too_long(one.messages, one.decoding.max_new_tokens) for one in requests]
    return {number: [Generation.failed(reason)] for number, reason in enumerate(reasons) if reason}


def _answer(loaded: LoadedCheckpoint, call: Sequence[Request], *, progress: str | None = None) -> list[Generations]:
    """Answer the requests of one call; those whose prompt is too long are not asked, and have failed."""
    long = _too_long(loaded, call)
    asked = [one for number, one in enumerate(call) if number not in long]
    found = answer_call(loaded.model, [_for_model(loaded, one) for one in asked], progress=progress) if asked else []
    answered = iter(found)
    samples = [long[number] if number in long else next(answered) for number in range(len(call))]
    return _records(loaded, call, samples)


def _check_failures(failed: Sequence[Generations], count: int, arm: str, max_failed: float) -> None:
    """Raise EngineError where too many of `count` requests failed, or one that shows a prompt's own bias."""
    biased = next((one for one in failed if one.split == "calibration"), None)
    if biased:
        raise EngineError(f"arm {arm}: an input that says nothing was not answered: {biased.error}")
    allowed = allowed_failures(count, max_failed)
    if len(failed) > allowed:
        raise EngineError(
            f"arm {arm}: {len(failed)} of {count} requests were not answered, and policy.max_failed={max_failed:g}"
            f" allows {allowed}; the first is example {failed[0].id!r}: {failed[0].error}"
        )


def generate_formats(arm: str, formats: Path, *, load: Callable[[], LoadedCheckpoint], folder: Path) -> None:
    """Answer formats.jsonl, and write generations.jsonl into `folder`.

    The arm's own format comes first, and an error there ends the stage: a server that is gone is not asked again for
    each format. A format that the model refuses, such as one whose prompt is too long, has the error in its place.
    """
    requests = read_jsonl(formats, Request)
    answers: list[Generations] = []
    if requests:
        loaded = load()
        write_precision(folder, loaded.dtype)
        _check_budget(loaded, requests, f"robustness of {arm}")
        for call in calls_of(requests):
            if call[0].variant == OWN or call[0].variant == SAMPLED:
                answers += _answer(loaded, call)
            else:
                answers += _answer_formats(loaded, call, arm)
    write_jsonl(folder / "generations.jsonl", [one.as_line() for one in answers])


def _answer_formats(loaded: LoadedCheckpoint, call: Sequence[Request], arm: str) -> list[Generations]:
    """Answer formats in one call, or each by itself where the model refuses all of one of them."""
    try:
        return _answer(loaded, call, progress=f"{arm}: formats")
    except EngineError as error:
        names = list(dict.fromkeys(one.variant for one in call))
        if len(names) > 1:
            by_format = ([one for one in call if one.variant == name] for name in names)
            return [answer for requests in by_format for answer in _answer_formats(loaded, requests, arm)]
        logger.warning("%s in the format %s: %s", arm, names[0], error)
        return [
            Generations(one.id, one.split, one.call, loaded.show(one.messages), variant=one.variant, error=str(error))
            for one in call
        ]


def _for_model(loaded: LoadedCheckpoint, request: Request) -> Request:
    """Return the request as the model takes it: a classifier gives a label, drawn only where samples are meant."""
    if not loaded.is_classifier:
        return request
    sampling = request.decoding.sampling if request.variant == SAMPLED else GREEDY
    return replace(request, decoding=Decoding(1, sampling=sampling))


def _records(
    loaded: LoadedCheckpoint, requests: Sequence[Request], samples: Sequence[list[Generation]]
) -> list[Generations]:
    return [
        Generations.of(one, loaded.show(one.messages), found, classifier=loaded.is_classifier)
        for one, found in zip(requests, samples, strict=True)
    ]


def _check_budget(loaded: LoadedCheckpoint, requests: Sequence[Request], what: str) -> None:
    """Raise BudgetExceededError before anything is sent where requests could cost more than a served model's limit."""
    if loaded.served:
        loaded.served.check(loaded.served.estimate(requests), what)
