"""An arm: one checkpoint with one prompt answers dev and test.

Writes into artifacts/prompt/<arm>/:

predictions.jsonl   a `whether.records.Prediction` a line, dev before test
metrics.json        {"dev": …, "test": …} with the metrics of `split_metrics`, then latency_p50, latency_p95, n_dev,
                    n_test, n_latency (timed requests) and peak_memory
adherence.json      outputs that had not the form asked for, by kind (`whether.records.Adherence`)
robustness.json     other formats and samples on a part of dev (`whether.records.Robustness`), unless switched off
prompt.txt          the first rendered prompt, to read
lm_eval/            the test split as a task for stock lm-eval (whether.prompt.lm_eval_export), for arms that it can
                    repeat: greedy answers, read by the task's own rule
"""

import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whether.config import CONF, ModelConfig, PromptConfig, RobustnessConfig, ServingConfig, build, line_of
from whether.engine.chat import Message, encode, render
from whether.engine.templates import TemplateFault
from whether.errors import ConfigError, DataError, EngineError
from whether.prompt.adherence import adherence
from whether.prompt.answering import Answering, Reply, greedy
from whether.prompt.lm_eval_export import export
from whether.prompt.metrics import latency_metrics, split_metrics
from whether.prompt.parse import judged
from whether.prompt.robustness import Own, measure_robustness
from whether.prompt.strategies import Retrieval, Strategy
from whether.records import Example, Prediction, Split, Task, read_json, read_jsonl, write_json, write_jsonl, write_text

if TYPE_CHECKING:
    from whether.engine.local import LocalModel

ANSWERED: tuple[Split, ...] = ("dev", "test")


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
) -> None:
    """Answer dev and test in one batch, measure, and write the records named above into `folder`.

    `name` is the arm's, `<checkpoint>-<prompt>`. A linear probe answers with its likeliest label, however the prompt
    would get its answers from a model that writes. Raises ConfigError for a prompt that cannot be built, and
    EngineError for one that does not fit the model's context or asks for what the model cannot do.
    """
    from whether.engine.local import LocalModel
    from whether.engine.memory import peak_memory

    prepared = artifacts / "prepare"
    task = read_json(prepared / "task.json", Task)
    pool = read_jsonl(prepared / "train.jsonl", Example)
    splits = {split: _read_split(prepared, split) for split in ANSWERED}
    prompt_name = name.removeprefix(f"{checkpoint}-")
    strategy, answering = build_prompt(prompt_name, prompt, task, pool, seed)
    local = LocalModel.load(artifacts / "model", artifacts / "finetune" / checkpoint, model)
    if local.is_probe:
        answering = greedy(task, seed)
    examples = [(split, example) for split in ANSWERED for example in splits[split]]
    chats = {example.id: strategy(example) for _, example in examples}
    _check_lengths(local, chats, answering.max_new_tokens, name)
    replies = answering.ask(
        local,
        lambda example: chats.get(example.id) or strategy(example),
        [example for _, example in examples],
        progress=name,
    )
    holds_answer = strategy.holds_answer if isinstance(strategy, Retrieval) else lambda example: None  # noqa: ARG005
    predictions = [
        prediction(
            task, split, example, render(local.tokenizer, chats[example.id]), reply, retrieved=holds_answer(example)
        )
        for (split, example), reply in zip(examples, replies, strict=True)
    ]
    seconds = _seconds_alone(local, answering, strategy, splits["dev"], serving)

    write_jsonl(folder / "predictions.jsonl", predictions)
    write_text(folder / "prompt.txt", predictions[0].prompt)
    write_json(folder / "metrics.json", _metrics(task, predictions, seconds) | {"peak_memory": peak_memory()})
    write_json(folder / "adherence.json", adherence(task, answering, replies))
    if robustness and robustness.examples:

        def built(task: Task, pool: Sequence[Example]) -> tuple[Strategy, Answering]:
            strategy, written = build_prompt(prompt_name, prompt, task, pool, seed)
            return strategy, answering if local.is_probe else written

        own = Own(strategy, answering, {line.id: line.answer for line in predictions})
        found = measure_robustness(
            robustness, task, pool, splits["dev"], seed, model=local, own=own, build=built, name=name
        )
        write_json(folder / "robustness.json", found)
    if answering.is_plain:
        tested = [line for line in predictions if line.split == "test"]
        export(task, name, tested, folder / "lm_eval", artifacts / "prompt" / name / "lm_eval")


def build_prompt(
    name: str, prompt: PromptConfig, task: Task, pool: Sequence[Example], seed: int
) -> tuple[Strategy, Answering]:
    """Return a prompt's strategy, its demonstrations in the form that its answering asks for, and its answering.

    Raises ConfigError that begins with the prompt's file for what the two cannot be built from.
    """
    file = CONF / "prompt" / f"{name}.yaml"
    try:
        answering: Answering = build(prompt.answering, task, seed, where=f"{file}: answering")
        strategy: Strategy = build(prompt.strategy, task, pool, seed, where=f"{file}: strategy")
    except TemplateFault as fault:
        start = line_of(file, ("strategy", "instruction"))
        place = f"line {fault.line} of the instruction" if start is None else f"line {start + fault.line - 1}"
        raise ConfigError(f"{file}, {place}: {fault.reason}") from None

    def shown(message: Message) -> Message:
        return message._replace(content=answering.show(message.content)) if message.role == "assistant" else message

    return (strategy if answering.show is str else lambda example: [*map(shown, strategy(example))]), answering


def _metrics(task: Task, predictions: Sequence[Prediction], seconds: Sequence[float]) -> dict[str, Any]:
    by_split = {split: [line for line in predictions if line.split == split] for split in ANSWERED}
    metrics: dict[str, Any] = {split: split_metrics(task, lines) for split, lines in by_split.items()}
    metrics |= latency_metrics(seconds)
    return metrics | {f"n_{split}": len(lines) for split, lines in by_split.items()} | {"n_latency": len(seconds)}


def _read_split(prepared: Path, split: Split) -> list[Example]:
    path = prepared / f"{split}.jsonl"
    examples = read_jsonl(path, Example)
    if not examples:
        raise DataError(f"{path} holds no examples: an arm needs at least one in dev and in test; run `dvc repro`")
    return examples


def _check_lengths(local: "LocalModel", chats: dict[str, list[Message]], max_new_tokens: int, name: str) -> None:
    for example_id, chat in chats.items():
        length = len(encode(local.tokenizer, chat))
        if length + max_new_tokens > local.context_window:
            raise EngineError(
                f"arm {name}: the prompt of example {example_id!r} has {length} tokens, and with {max_new_tokens}"
                f" for the answer that is more than the model's context of {local.context_window}: use fewer or shorter"
                " examples, or a model with a longer context"
            )


def prediction(
    task: Task, split: Split, example: Example, prompt: str, reply: Reply, *, retrieved: bool | None
) -> Prediction:
    """Return the record of a reply: what was understood, and whether it is right."""
    generation = reply.generation
    parsed = judged(task, reply.answer, example.target)
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


def _seconds_alone(
    local: "LocalModel", answering: Answering, strategy: Strategy, examples: Sequence[Example], serving: ServingConfig
) -> list[float]:
    """Return the wall time of requests sent one at a time, from example to answer: strategy, tokens, generation.

    Each is a batch of its own, so nothing is shared between requests and the whole prompt is computed every time, as
    for a server without a prefix cache. The first `serving.warmup` requests are not timed.
    """
    seconds = []
    for number, example in enumerate(islice(cycle(examples), serving.warmup + serving.requests)):
        start = time.perf_counter()
        answering.ask(local, strategy, [example])
        if number >= serving.warmup:
            seconds.append(time.perf_counter() - start)
    return seconds
