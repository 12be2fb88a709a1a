"""The stages `generate` and `robustness`: a checkpoint answers the requests of a prompt. They read and write text.

`generate` writes into artifacts/generate/<arm>/:

generations.jsonl   a `whether.records.Generations` a line, in the order of requests.jsonl
latency.json        `whether.records.Latency`: the first requests of dev again, one at a time
precision.json      `whether.records.Precision`: that of the weights that answered
prompt.txt          the first rendered prompt of dev, to read

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
    splits: Collection[RequestSplit] | None = None,
) -> None:  # fmt: skip
    """Answer the requests of a file, time some of them alone, and write the records named above into `folder`.

    Of `splits` only, where they are given. Of a served model nothing is sent where all of it could cost more than its
    limit. Raises EngineError for a prompt that does not fit the model's context, and for what the model cannot do.
    """
    from whether.model.memory import peak_memory

    loaded, asked = load(), _of_splits(read_jsonl(requests, Request), splits)
    answers = answer_requests(loaded, asked, arm)
    latency = Latency()
    if loaded.served is None:
        dev = [_for_model(loaded, one) for one in asked if one.split == "dev"]
        latency = Latency(single_request_latency(loaded.model, dev, serving), peak_memory())
    write_jsonl(folder / "generations.jsonl", [one.as_line() for one in answers])
    write_json(folder / "latency.json", latency)
    write_precision(folder, loaded.dtype)
    write_text(folder / "prompt.txt", next(one.prompt for one in answers if one.split == "dev"))


def answer_splits(
    loaded: LoadedCheckpoint, requests: Path, arm: str, splits: Collection[RequestSplit]
) -> list[Generations]:
    """Answer those requests of a file that belong to some splits, where all of the file keeps a served model's limit.

    Raises BudgetExceededError, before anything is sent, where it does not.
    """
    asked = read_jsonl(requests, Request)
    _check_budget(loaded, asked, f"arm {arm}")
    return answer_requests(loaded, _of_splits(asked, splits), arm)


def _of_splits(requests: list[Request], splits: Collection[RequestSplit] | None) -> list[Request]:
    return requests if splits is None else [one for one in requests if one.split in splits]


def generate_point(requests: Path, *, load: Callable[[bool], LoadedCheckpoint], folder: Path) -> None:
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
            answers = answer_requests(loaded, asked, arm.name)
            write_jsonl(folder / f"{arm.name}.jsonl", [one.as_line() for one in answers])
        del loaded  # before the next one is loaded: both would take memory, and vLLM runs one in a process


def answer_requests(loaded: LoadedCheckpoint, requests: Sequence[Request], arm: str) -> list[Generations]:
    """Answer requests call by call, in order."""
    _check_lengths(loaded, requests, arm)
    _check_budget(loaded, requests, f"arm {arm}")
    answers: list[Generations] = []
    for number, call in enumerate(calls_of(requests)):
        title = arm if number == 0 else f"{arm}, {call[-1].split} rows"
        samples = answer_call(loaded.model, [_for_model(loaded, one) for one in call], progress=title)
        answers += _records(loaded, call, samples)
    return answers


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
                answers += _records(loaded, call, answer_call(loaded.model, [_for_model(loaded, one) for one in call]))
            else:
                answers += _answer_formats(loaded, call, arm)
    write_jsonl(folder / "generations.jsonl", [one.as_line() for one in answers])


def _answer_formats(loaded: LoadedCheckpoint, call: Sequence[Request], arm: str) -> list[Generations]:
    """Answer formats in one call, or each by itself where the model refuses one of them."""
    asked = [_for_model(loaded, one) for one in call]
    try:
        return _records(loaded, call, answer_call(loaded.model, asked, progress=f"{arm}: formats"))
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
        Generations(
            one.id, one.split, one.call, loaded.show(one.messages), found, variant=one.variant,
            classifier=loaded.is_classifier,
        )
        for one, found in zip(requests, samples, strict=True)
    ]  # fmt: skip


def _check_budget(loaded: LoadedCheckpoint, requests: Sequence[Request], what: str) -> None:
    """Raise BudgetExceededError before anything is sent where requests could cost more than a served model's limit."""
    if loaded.served:
        loaded.served.check(loaded.served.estimate(requests), what)


def _check_lengths(loaded: LoadedCheckpoint, requests: Sequence[Request], arm: str) -> None:
    if loaded.context_window is None:
        return
    for request in requests:
        length, new = loaded.count(request.messages), request.decoding.max_new_tokens
        if length + new > loaded.context_window:
            raise EngineError(
                f"arm {arm}: the prompt of example {request.id!r} has {length} tokens, and with {new} for the answer"
                f" that is more than the model's context of {loaded.context_window}: use fewer or shorter examples, or"
                " a model with a longer context"
            )
