"""The prompt stage: what is asked of a model, as files, before any model runs.

Writes into artifacts/prompt/<prompt>/:

requests.jsonl   `whether.records.Request`: calibration, dev, test, then rows of unseen labels, if there are any
formats.jsonl    `whether.records.Request`: other formats and samples on a part of dev, for robustness
formats.json     `whether.records.FormatPlan`: which formats these are, and how answers are read
timing.json      `whether.records.BuildTimes`: of the first requests of dev
retrieval.json   id → whether the passages shown hold the answer; {} for a prompt that shows none

A model runs again only where requests.jsonl or formats.jsonl has changed, so both are the same bytes whenever the
prompt, the task and the seed are the same. Times are in a file of their own for that reason.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple, Protocol

from whether.config import PromptConfig, RobustnessConfig, ServingConfig
from whether.errors import ConfigError, DataError, RecordError, near_matches
from whether.outputs.decoding import CONTENT_FREE, DecodingStrategy
from whether.prompt.build import build_prompt, contains_answer
from whether.prompt.formats import NAMES, changes_prompt, prompt_formats
from whether.prompt.selection import balanced
from whether.prompt.strategies import Strategy
from whether.records import (
    OWN,
    SAMPLED,
    BuildTimes,
    Decoding,
    Example,
    FormatPlan,
    FormatRecord,
    Request,
    RequestSplit,
    RequestTime,
    Sampling,
    Task,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_folder,
    sha256_json,
    to_builtins,
    write_json,
    write_jsonl,
    write_text,
)

_CODE = Path(__file__).parents[1]


class Build(Protocol):
    """Builds a prompt for a task and a pool."""

    def __call__(self, *, task: Task, pool: Sequence[Example]) -> tuple[Strategy, DecodingStrategy]:
        """Raise ConfigError for what it cannot be built from."""
        ...


class PromptInputs(NamedTuple):
    """What of artifacts/prepare a prompt is made from."""

    task: Task
    pool: list[Example]
    """The training split, for demonstrations."""
    dev: list[Example]
    test: list[Example]
    unseen_task: Task | None
    """The task with an instruction that names the labels that were left out; None where none were."""
    unseen: list[Example]


def read_inputs(prepared: Path) -> PromptInputs:
    """Read artifacts/prepare. Raises DataError for a split without examples."""
    file = prepared / "unseen.jsonl"
    return PromptInputs(
        read_json(prepared / "task.json", Task),
        read_jsonl(prepared / "train.jsonl", Example),
        _read_split(prepared / "dev.jsonl"),
        _read_split(prepared / "test.jsonl"),
        read_json(prepared / "unseen_task.json", Task) if file.exists() else None,
        read_jsonl(file, Example) if file.exists() else [],
    )


def write_prompt(
    name: str, prompt: PromptConfig, seed: int, *, inputs: PromptInputs, robustness: RobustnessConfig,
    serving: ServingConfig, folder: Path, before: Path | None = None,
) -> None:  # fmt: skip
    """Write what prompt `name` asks into `folder`. Raises ConfigError for a prompt that cannot be built.

    `before` is what an earlier run wrote: its times are kept where nothing has changed.
    """
    build = partial(build_prompt, name, prompt, seed=seed)
    strategy, decoding = build(task=inputs.task, pool=inputs.pool)
    requests = arm_requests(build, strategy, decoding, inputs)
    write_jsonl(folder / "requests.jsonl", [one.as_line() for one in requests])
    plan, requests = format_requests(build, strategy, decoding, inputs, config=robustness, seed=seed)
    if requests:
        write_jsonl(folder / "formats.jsonl", [one.as_line() for one in requests])
    else:
        write_text(folder / "formats.jsonl", "\n")  # DVC warns of an empty file, three times for each arm
    write_json(folder / "formats.json", plan)
    code = [sha256_folder(_CODE / package, "**/*.py") for package in ("prompt", "outputs", "chat")]
    key = sha256_json([*code, sha256_file(folder / "requests.jsonl"), to_builtins(serving)])
    times = _earlier_times(before, key) or BuildTimes(key, _building_times(strategy, inputs.dev, serving))
    write_json(folder / "timing.json", times)
    shown = {one.id: contains_answer(strategy, one) for one in [*inputs.dev, *inputs.test, *inputs.unseen]}
    write_json(folder / "retrieval.json", {key: value for key, value in shown.items() if value is not None})


def all_requests(
    name: str, prompt: PromptConfig, seed: int, inputs: PromptInputs, robustness: RobustnessConfig
) -> tuple[list[Request], list[Request]]:
    """Return what requests.jsonl and formats.jsonl hold."""
    build = partial(build_prompt, name, prompt, seed=seed)
    strategy, decoding = build(task=inputs.task, pool=inputs.pool)
    _, formats = format_requests(build, strategy, decoding, inputs, config=robustness, seed=seed)
    return arm_requests(build, strategy, decoding, inputs), formats


def arm_requests(build: Build, strategy: Strategy, decoding: DecodingStrategy, inputs: PromptInputs) -> list[Request]:
    """Return what every arm of a prompt is asked: dev and test in one call, rows of unseen labels in another."""
    test = {one.id for one in inputs.test}
    both = requests_of(strategy, decoding, [*inputs.dev, *inputs.test], "dev")
    requests = [replace(one, split="test") if one.id in test else one for one in both]
    if inputs.unseen_task:
        strategy, decoding = build(task=inputs.unseen_task, pool=inputs.pool)
        requests += requests_of(strategy, decoding, inputs.unseen, "unseen", call=1)
    return requests


def format_requests(
    build: Build, strategy: Strategy, decoding: DecodingStrategy, inputs: PromptInputs, *, config: RobustnessConfig,
    seed: int,
) -> tuple[FormatPlan, list[Request]]:  # fmt: skip
    """Return what is asked to see how much an arm depends on its prompt's format and on chance.

    On a fixed part of dev, the same for every arm: the arm's own format again, in a call of its own; then every other
    format, those of equal decoding in one call; then samples in the arm's own format, where answers are written.
    Raises ConfigError for a format that does not exist.
    """
    for unknown in [one for one in config.formats or () if one not in NAMES]:
        raise ConfigError(f"robustness.formats: no such format as {unknown!r}{near_matches(unknown, NAMES)}")
    if not config.examples:
        return FormatPlan(), []
    task, size = inputs.task, min(config.examples, len(inputs.dev))
    subset = balanced(task, inputs.dev, size, random.Random(seed))
    requests = requests_of(strategy, decoding, subset, "dev", variant=OWN)
    chosen = [one for one in prompt_formats(task, seed) if config.formats is None or one.name in config.formats]
    calls: list[Decoding] = []
    tried, skipped = list[FormatRecord](), dict[str, str]()
    for form in chosen:
        varied, its_decoding = build(task=form.task, pool=[form.example(example) for example in inputs.pool])
        rearranged = form.strategy(varied)
        if not changes_prompt(form, strategy, rearranged, subset[:3]):
            skipped[form.name] = "changes nothing in what the arm asks"
            continue
        tried.append(FormatRecord(form.name, form.task, form.labels))
        if not its_decoding.writes or its_decoding.decoding not in calls:
            calls.append(its_decoding.decoding)
        examples = [form.example(example) for example in subset]
        call = len(calls) if not its_decoding.writes else 1 + calls.index(its_decoding.decoding)
        requests += requests_of(rearranged, its_decoding, examples, "dev", call=call, variant=form.name)
    if config.samples and decoding.writes:
        sampling = Sampling(temperature=config.temperature, seed=seed, samples=config.samples)
        sampled = decoding._replace(decoding=replace(decoding.decoding, sampling=sampling), calibrate=None)
        requests += requests_of(strategy, sampled, subset, "dev", call=len(calls) + 1, variant=SAMPLED)
    plan = FormatPlan([one.id for one in subset], tried, skipped, config.samples, config.temperature)
    return plan, requests


def requests_of(
    strategy: Strategy, decoding: DecodingStrategy, examples: Sequence[Example], split: RequestSplit, *, call: int = 0,
    variant: str = "",
) -> list[Request]:  # fmt: skip
    """Return a request for each example, after those for inputs that say nothing where the decoding calibrates."""
    empty = (
        [replace(examples[0], id="", inputs=dict.fromkeys(examples[0].inputs, text)) for text in CONTENT_FREE]
        if decoding.calibrate and examples
        else []
    )
    asked: list[tuple[Example, RequestSplit]] = [(one, "calibration") for one in empty]
    asked += [(one, split) for one in examples]
    return [Request(one.id, of, call, strategy(one), decoding.decoding, variant) for one, of in asked]


def _earlier_times(before: Path | None, key: str) -> BuildTimes | None:
    """Return the times of an earlier run where they are of the same requests and code, else None."""
    if before is None or not (before / "timing.json").is_file():
        return None
    try:
        times = read_json(before / "timing.json", BuildTimes)
    except RecordError:  # of another version
        return None
    return times if times.key == key else None


def _building_times(strategy: Strategy, dev: Sequence[Example], serving: ServingConfig) -> list[RequestTime]:
    """Return how long a request takes to be built, one at a time; the first `serving.warmup` are not counted."""
    times = []
    for example in islice(cycle(dev), serving.warmup + serving.requests):
        start = time.perf_counter()
        strategy(example)
        times.append(RequestTime(example.id, time.perf_counter() - start))
    return times[serving.warmup :]


def _read_split(path: Path) -> list[Example]:
    examples = read_jsonl(path, Example)
    if not examples:
        raise DataError(f"{path} holds no examples: an arm needs at least one in dev and in test; run `dvc repro`")
    return examples
