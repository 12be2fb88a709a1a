"""An arm: one checkpoint with one prompt answers dev and test.

Writes into artifacts/prompt/<arm>/:

predictions.jsonl   a `whether.records.Prediction` a line, dev before test, then rows of unseen labels, if there are any
metrics.json        {"dev": …, "test": …} with the metrics of `split_metrics`, then latency_p50, latency_p95, n_dev,
                    n_test, n_latency (timed requests) and peak_memory; for a served model latency is of all requests,
                    beside `concurrency - 1` others each, and peak_memory is None
adherence.json      outputs that had not the form asked for, by kind (`whether.records.Adherence`)
robustness.json     other formats and samples on a part of dev (`whether.records.Robustness`), unless switched off
prompt.txt          the first rendered prompt, to read
lm_eval/            the test split as a task for stock lm-eval (whether.prompt.lm_eval_export), for arms that it can
                    repeat: greedy answers, read by the task's own rule
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import Any

from whether.chat.templates import TemplateError
from whether.config import (
    CONF,
    ModelConfig,
    PromptConfig,
    RobustnessConfig,
    ServedConfig,
    ServingConfig,
    build,
    line_of,
)
from whether.engine.requests import ChatModel
from whether.errors import ConfigError, DataError, EngineError
from whether.outputs.kinds import output_of
from whether.outputs.output import score_answer
from whether.prompt.adherence import adherence
from whether.prompt.answering import DecodingStrategy, ParsedOutput, greedy
from whether.prompt.lm_eval_export import export
from whether.prompt.metrics import latency_metrics, split_metrics
from whether.prompt.models import LoadedCheckpoint, base_counter, load_checkpoint
from whether.prompt.robustness import Baseline, measure_robustness
from whether.prompt.strategies import Retrieval, Strategy
from whether.records import (
    Example,
    Message,
    Prediction,
    Robustness,
    Split,
    Task,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
    write_text,
)
from whether.served.budget import BudgetedModel, CostEstimate

EVALUATED_SPLITS: tuple[Split, ...] = ("dev", "test")


def run_arm(
    checkpoint: str,
    prompt: PromptConfig,
    model: ModelConfig,
    serving: ServingConfig,
    seed: int,
    *,
    name: str,
    artifacts: Path,
    folder: Path,
    robustness: RobustnessConfig | None = None,
    served: ServedConfig | None = None,
) -> None:
    """Answer dev and test in one batch, measure, and write the records named above into `folder`.

    `name` is the arm's, `<checkpoint>-<prompt>`. A linear probe answers with its likeliest label, however the prompt
    would get its answers from a model that writes. With `served` another model answers, behind an API; nothing is sent
    where the whole arm could cost more than its limit. Raises ConfigError for a prompt that cannot be built, and
    EngineError for one that does not fit the model's context or asks for what the model cannot do.
    """
    from whether.model.memory import peak_memory

    work = _Work.prepare(prompt, seed, name=name, prompt_name=name.removeprefix(f"{checkpoint}-"), artifacts=artifacts)
    opened = load_checkpoint(checkpoint, artifacts / "model", artifacts / "finetune" / checkpoint, model, served)
    if opened.is_probe:
        work = replace(work, decoding=greedy(work.task, seed), is_probe=True)
    _check_lengths(opened, work)
    if opened.served:
        opened.served.check(_estimated(work, opened.served, robustness, artifacts), f"arm {name}")
    replies = work.ask(opened.model, progress=name)
    predictions = work.predictions(replies, opened.show)
    unseen = work.of_unseen_labels(artifacts / "prepare")
    if unseen:
        _check_lengths(opened, unseen)
        predictions += unseen.predictions(unseen.ask(opened.model, progress=f"{name}, unseen labels"), opened.show)
    if opened.served:
        # Each was a request by itself; to ask again would cost again, and be answered by what is kept.
        seconds, memory = [line.seconds for line in predictions], None
    else:
        seconds, memory = single_request_latency(opened.model, work, serving), peak_memory()

    write_jsonl(folder / "predictions.jsonl", predictions)
    write_text(folder / "prompt.txt", predictions[0].prompt)
    write_json(folder / "metrics.json", _metrics(work.task, predictions, seconds) | {"peak_memory": memory})
    write_json(folder / "adherence.json", adherence(work.task, work.decoding, replies))
    if robustness and robustness.examples:
        found = work.measure_robustness(robustness, opened.model, {line.id: line.answer for line in predictions})
        write_json(folder / "robustness.json", found)
    if work.decoding.is_plain and opened.served is None:
        tested = [line for line in predictions if line.split == "test"]
        export(work.task, name, tested, folder / "lm_eval", artifacts / "prompt" / name / "lm_eval")


def estimate_arm(
    checkpoint: str, prompt_name: str, prompt: PromptConfig, served: ServedConfig, seed: int,
    *, artifacts: Path, robustness: RobustnessConfig | None,
) -> CostEstimate:  # fmt: skip
    """Return what an arm of a served model would send, and what that costs at most; nothing is sent."""
    name = f"{checkpoint}-{prompt_name}"
    work = _Work.prepare(prompt, seed, name=name, prompt_name=prompt_name, artifacts=artifacts)
    return _estimated(work, BudgetedModel(served, checkpoint, base_counter(artifacts / "model")), robustness, artifacts)


@dataclass(frozen=True)
class _Work:
    """What an arm has to answer, and how."""

    name: str
    prompt_name: str
    prompt: PromptConfig
    task: Task
    pool: list[Example]
    splits: dict[Split, list[Example]]
    strategy: Strategy
    decoding: DecodingStrategy
    seed: int
    is_probe: bool = False

    @classmethod
    def prepare(cls, prompt: PromptConfig, seed: int, *, name: str, prompt_name: str, artifacts: Path) -> "_Work":
        """Read the splits and build the prompt."""
        prepared = artifacts / "prepare"
        task = read_json(prepared / "task.json", Task)
        pool = read_jsonl(prepared / "train.jsonl", Example)
        splits = {split: _read_split(prepared, split) for split in EVALUATED_SPLITS}
        strategy, decoding = build_prompt(prompt_name, prompt, task, pool, seed)
        return cls(name, prompt_name, prompt, task, pool, splits, strategy, decoding, seed)

    def of_unseen_labels(self, prepared: Path) -> "_Work | None":
        """Return the same prompt for the rows whose labels were left out, with an instruction that names them."""
        file = prepared / "unseen.jsonl"
        if not file.exists():
            return None
        task = read_json(prepared / "unseen_task.json", Task)
        splits: dict[Split, list[Example]] = {"unseen": read_jsonl(file, Example)}
        strategy, decoding = build_prompt(self.prompt_name, self.prompt, task, self.pool, self.seed)
        if self.is_probe:
            decoding = greedy(task, self.seed)
        return replace(self, task=task, splits=splits, strategy=strategy, decoding=decoding)

    @cached_property
    def examples(self) -> list[tuple[Split, Example]]:
        """What is answered, in order."""
        return [(split, example) for split, examples in self.splits.items() for example in examples]

    @cached_property
    def chats(self) -> dict[str, list[Message]]:
        """The prompt of each example, by its id."""
        return {example.id: self.strategy(example) for _, example in self.examples}

    def ask(self, model: ChatModel, progress: str | None = None) -> list[ParsedOutput]:
        """Return the model's answers."""
        return self.decoding.ask(
            model,
            lambda example: self.chats.get(example.id) or self.strategy(example),
            [example for _, example in self.examples],
            progress=progress,
        )

    def predictions(
        self, replies: Sequence[ParsedOutput], show: Callable[[Sequence[Message]], str]
    ) -> list[Prediction]:
        """Return the records of the answers."""
        inner = self.strategy.strategy if isinstance(self.strategy, _FormattedDemonstrations) else self.strategy
        retrieval = inner if isinstance(inner, Retrieval) else None
        return [
            prediction(
                self.task, split, example, show(self.chats[example.id]), reply,
                retrieved=retrieval.holds_answer(example) if retrieval else None,
            )
            for (split, example), reply in zip(self.examples, replies, strict=True)
        ]  # fmt: skip

    def measure_robustness(
        self, config: RobustnessConfig, model: ChatModel, answers: dict[str, str | None]
    ) -> Robustness:
        """Return what other formats and samples say; `answers` are those in the arm's own format."""

        def built(task: Task, pool: Sequence[Example]) -> tuple[Strategy, DecodingStrategy]:
            strategy, written = build_prompt(self.prompt_name, self.prompt, task, pool, self.seed)
            return strategy, self.decoding if self.is_probe else written

        own = Baseline(self.strategy, self.decoding, answers)
        return measure_robustness(
            config, self.task, self.pool, self.splits["dev"], self.seed,
            model=model, own=own, build=built, name=self.name,
        )  # fmt: skip


def _estimated(
    work: _Work, served: BudgetedModel, robustness: RobustnessConfig | None, artifacts: Path
) -> CostEstimate:
    """Go through all that an arm asks, with empty answers."""
    estimator = served.estimator()
    work.ask(estimator)
    unseen = work.of_unseen_labels(artifacts / "prepare")
    if unseen:
        unseen.ask(estimator)
    if robustness and robustness.examples:
        work.measure_robustness(robustness, estimator, dict.fromkeys(example.id for _, example in work.examples))
    return estimator.estimate


def build_prompt(
    name: str, prompt: PromptConfig, task: Task, pool: Sequence[Example], seed: int
) -> tuple[Strategy, DecodingStrategy]:
    """Return a prompt's strategy, its demonstrations in the form that its decoding asks for, and its decoding.

    Raises ConfigError that begins with the prompt's file for what the two cannot be built from.
    """
    file = CONF / "prompt" / f"{name}.yaml"
    try:
        decoding: DecodingStrategy = build(prompt.decoding, task, seed, where=f"{file}: decoding")
        strategy: Strategy = build(prompt.strategy, task, pool, seed, where=f"{file}: strategy")
    except TemplateError as fault:
        start = line_of(file, ("strategy", "instruction"))
        place = f"line {fault.line} of the instruction" if start is None else f"line {start + fault.line - 1}"
        raise ConfigError(f"{file}, {place}: {fault.reason}") from None

    shown: Strategy = strategy if decoding.show is str else _FormattedDemonstrations(strategy, decoding)
    return shown, decoding


@dataclass(frozen=True)
class _FormattedDemonstrations:
    """A strategy whose demonstrations stand in the form that the decoding asks for."""

    strategy: Strategy
    decoding: DecodingStrategy

    def __call__(self, example: Example) -> list[Message]:
        """Return the messages."""
        return self.decoding.shown(self.strategy(example))


def _metrics(task: Task, predictions: Sequence[Prediction], seconds: Sequence[float]) -> dict[str, Any]:
    by_split = {split: [line for line in predictions if line.split == split] for split in EVALUATED_SPLITS}
    metrics: dict[str, Any] = {split: split_metrics(task, lines) for split, lines in by_split.items()}
    metrics |= latency_metrics(seconds)
    unseen = [line.score for line in predictions if line.split == "unseen"]
    if unseen:
        metrics["unseen_labels"] = fmean(unseen)
    return metrics | {f"n_{split}": len(lines) for split, lines in by_split.items()} | {"n_latency": len(seconds)}


def _read_split(prepared: Path, split: Split) -> list[Example]:
    path = prepared / f"{split}.jsonl"
    examples = read_jsonl(path, Example)
    if not examples:
        raise DataError(f"{path} holds no examples: an arm needs at least one in dev and in test; run `dvc repro`")
    return examples


def _check_lengths(opened: LoadedCheckpoint, work: _Work) -> None:
    if opened.context_window is None:
        return
    for example_id, chat in work.chats.items():
        length = opened.count(chat)
        if length + work.decoding.max_new_tokens > opened.context_window:
            raise EngineError(
                f"arm {work.name}: the prompt of example {example_id!r} has {length} tokens, and with"
                f" {work.decoding.max_new_tokens} for the answer that is more than the model's context of"
                f" {opened.context_window}: use fewer or shorter examples, or a model with a longer context"
            )


def prediction(
    task: Task, split: Split, example: Example, prompt: str, reply: ParsedOutput, *, retrieved: bool | None
) -> Prediction:
    """Return the record of a reply: what was understood, and whether it is right."""
    generation = reply.generation
    parsed = score_answer(output_of(task), reply.answer, example.target)
    return Prediction(
        id=example.id,
        split=split,
        output=generation.text,
        answer=parsed.answer,
        target=example.target,
        score=parsed.score,
        valid=parsed.valid,
        prompt=prompt,
        input_tokens=generation.input_tokens,
        cached_tokens=generation.cached_tokens,
        output_tokens=generation.output_tokens,
        seconds=generation.seconds,
        samples=reply.samples,
        retrieved=retrieved,
    )


def single_request_latency(model: ChatModel, work: _Work, serving: ServingConfig) -> list[float]:
    """Return the wall time of requests sent one at a time, from example to answer: strategy, tokens, generation.

    Each is a batch of its own, so nothing is shared between requests and the whole prompt is computed every time, as
    for a server without a prefix cache. The first `serving.warmup` requests are not timed.
    """
    seconds = []
    for number, example in enumerate(islice(cycle(work.splits["dev"]), serving.warmup + serving.requests)):
        start = time.perf_counter()
        work.decoding.ask(model, work.strategy, [example])
        if number >= serving.warmup:
            seconds.append(time.perf_counter() - start)
    return seconds
